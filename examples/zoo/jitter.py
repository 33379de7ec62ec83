"""Weights that look trained: why a random model is moved before it is measured.

A freshly initialised model has biases that are all zero, LayerNorm weights that are all one, and heads that are zero
altogether. Optimizers remove an Add of zero, exporters merge equal tensors, and a zero head makes every comparison
empty. None of that happens with trained weights, so every figure taken without this would describe a model that
nobody ships.
"""

from typing import TypeVar

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
            parameter += noise(parameter)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer += noise(buffer)
        elif name.endswith("running_var"):
            buffer *= noise(buffer).exp()
    return module
