"""Weights that look trained: why a random model is moved before it is measured.

A freshly initialised model has biases that are all zero, LayerNorm weights that are all one, and heads that are zero
altogether. Optimizers remove an Add of zero, exporters merge equal tensors, and a zero head makes every comparison
empty. And a convolutional network with small weights and the BatchNorm statistics of no data lets its signal die: the
logits of a fresh EfficientNet-B0 are the same to the last bit for any image. None of that happens with trained
weights, so every figure taken without this would describe a model that nobody ships.
"""

from typing import Any, TypeVar

import torch

ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)


@torch.no_grad()
def jitter(module: ModuleT, *, seed: int = 0, scale: float = 0.01) -> ModuleT:
    """Add N(0, scale) to every floating-point parameter and move every BatchNorm statistic, in place.

    Running means get N(0, scale) added, running variances are multiplied by exp(N(0, scale)): they stay
    positive.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor: torch.Tensor) -> torch.Tensor:
        return torch.randn(tensor.shape, generator=generator).to(tensor) * scale

    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.add_(noise(parameter))
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer += noise(buffer)
        elif name.endswith("running_var"):
            buffer *= noise(buffer).exp()
    return module


@torch.no_grad()
def settle_convolutions(module: ModuleT, *inputs: torch.Tensor, bias: float = 0.5) -> ModuleT:
    """He initialisation for every convolution, and for every BatchNorm the statistics of its own input, in place.

    BatchNorm scales start at 0.5 (transformers' EfficientNet draws them from N(0, 0.02), and the signal dies; at 1 the
    residual branches weigh so much that ResNet-50 enlarges a relative error 17 times), and biases at `bias`: at 0
    half of the signal is cut off behind every normalization, and such a network is chaotic. Each layer enlarges
    an error relative to what is left of the signal, until YOLOv8n in float32 is 7e-6 from itself in float64 (ResNet-50
    5e-6); with biases it is 1.3e-7 (5e-7), and pictures still differ in every output. No trained network would be of
    use that way, and no difference of 1e-5 between two graphs would mean anything.

    The statistics are those of one forward pass in eval mode. Means are rounded to an eighth of a deviation and
    variances to a power of two, so that other processors and thread counts, whose sums differ in the last bit, make the
    same model.
    """

    def settle(norm: Any, arguments: tuple[torch.Tensor, ...]) -> None:
        x = arguments[0].transpose(0, 1).flatten(1)
        variance = x.var(dim=1, unbiased=False).clamp(min=1e-3 * float(x.square().mean()) + 1e-12)
        exponent = variance.log2().round()
        step = (exponent / 2).floor().exp2() / 8
        norm.running_var.copy_(exponent.exp2())
        norm.running_mean.copy_((x.mean(dim=1) / step).round() * step)

    for child in module.modules():
        if isinstance(child, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(child.weight)
    norms = [child for child in module.modules() if isinstance(child, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.constant_(norm.weight, 0.5)
        torch.nn.init.constant_(norm.bias, bias)
    hooks = [norm.register_forward_pre_hook(settle) for norm in norms]
    training = module.training
    try:
        module.eval()(*inputs)
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    return module
