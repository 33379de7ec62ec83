"""The zoo: real architectures at full size, weights random under a seed and jittered. `registry.MODELS` lists them.

Importing this package repairs torchvision where its wheel cannot load beside a CPU build of torch: that wheel is
linked against CUDA, and without its operators `import torchvision` raises ``operator torchvision::nms does not exist``,
as does `from transformers import BertModel`. Where torchvision is not installed, nothing is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

_DECLARED: list[Any] = []
"""Operator definitions live as long as the object that made them."""


def _declare_torchvision_operators() -> None:
    """Declare the operators that no model of the zoo computes with, so that torchvision can be imported."""
    import torch

    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(operators)


if importlib.util.find_spec("torchvision") is not None:
    _declare_torchvision_operators()
