"""YOLOv8n, YOLOv8s and YOLO12n of ultralytics (AGPL: not a dependency), EfficientDet-D0 of effdet."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from examples.zoo.declaring import ZooModel
from examples.zoo.random_inputs import normal

if TYPE_CHECKING:
    import torch


def yolo(name: str) -> torch.nn.Module:
    """A detection model with random weights, its head set up as ultralytics' own exporter does."""
    from ultralytics.nn.tasks import DetectionModel

    from examples.zoo.jitter import jitter, settle_convolutions

    model = DetectionModel(f"{name}.yaml", verbose=False).eval()
    model = jitter(settle_convolutions(model, *picture(0, 640)))
    model.model[-1].export = True
    model.model[-1].format = "onnx"
    return model


def efficientdet(name: str) -> torch.nn.Module:
    """A detection model with random weights; its outputs are the classes and the boxes of five levels."""
    from effdet import create_model

    from examples.zoo.jitter import jitter, settle_convolutions

    model = create_model(name, pretrained=False, pretrained_backbone=False).eval()
    return jitter(settle_convolutions(model, *picture(0, 512)))


def picture(seed: int, size: int) -> tuple[torch.Tensor]:
    """One image of ``(1, 3, size, size)`` float32 with values in [0, 1)."""
    return (normal(seed, 1, 3, size, size).sigmoid(),)


def _yolo(name: str) -> ZooModel:
    return ZooModel(
        name=name,
        build=partial(yolo, name),
        inputs=partial(picture, size=640),
        requires=("torchvision", "ultralytics"),
    )


YOLOV8N, YOLOV8S, YOLO12N = YOLOS = tuple(map(_yolo, ("yolov8n", "yolov8s", "yolo12n")))
EFFICIENTDET_D0 = ZooModel(
    name="efficientdet-d0",
    build=partial(efficientdet, "tf_efficientdet_d0"),
    inputs=partial(picture, size=512),
    requires=("torchvision", "effdet"),
)
MODELS = (*YOLOS, EFFICIENTDET_D0)
