"""A one-stage detector: strided convolutions, box decoding on a grid, the ten best boxes."""

import torch
from torch import nn


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8, eps=1e-3), nn.SiLU())
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8, eps=1e-3), nn.SiLU())
        self.boxes, self.scores = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 3, 1)
        ys, xs = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
        self.register_buffer("grid", torch.stack((xs, ys), -1).reshape(1, 64, 2) + 0.5)

    def forward(self, image):
        x = self.body(self.stem(image / 255.0))
        box = self.boxes(x).flatten(2).transpose(1, 2)
        score = self.scores(x).flatten(2).transpose(1, 2).sigmoid().amax(-1)
        centre = (box[..., :2] + self.grid) * 4.0
        size = box[..., 2:].clamp(max=4.0).exp() * 4.0
        boxes = torch.cat((centre - size / 2, centre + size / 2), -1)
        best, index = score.topk(10)
        return {"boxes": boxes.gather(1, index[..., None].expand(-1, -1, 4)), "scores": best}


def build():
    model = Detector()
    return model


def inputs(seed):
    return {"image": 255 * torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))}


OPTIONS = {"output_names": ("boxes", "scores")}
