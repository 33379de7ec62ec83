"""What a module computes, and with which weights, locked against what it computed when it was recorded."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import torch

from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.numbers.files import digests, numbers_of_file
from pytest_modelcheck.numbers.results import Numbers
from pytest_modelcheck.numbers.running import Subject
from pytest_modelcheck.numbers.weights import Weights, weights_of

__all__ = ["Numbers", "Weights", "numbers_of", "numbers_of_file", "weights_of"]


def numbers_of(
    case: ModelCase, module: torch.nn.Module | Callable[[], torch.nn.Module], file: ir.Model | None = None
) -> Numbers:
    """What `module` computes on ``inputs(0)`` with weights drawn by name: the function, whatever the checkpoint.

    Args:
        case: Its inputs and outputs.
        module: The module, in eval mode; or what gives it, where it may be dropped and built again meanwhile. It is
            run in torch, under no_grad, and left as it was.
        file: A shipped file of the module: its weights are kept by digest, too.

    Raises:
        ModelCaseError: if its inputs or its forward raise.

    Example:
        >>> case = ModelCase("linear", lambda: torch.nn.Linear(3, 2), lambda seed: {"input": torch.ones(1, 3)})
        >>> numbers_of(case, torch.nn.Linear(3, 2)).outputs["output_0"]["plain"].sketch.shape
        (1, 2)
    """
    build = module if not isinstance(module, torch.nn.Module) else lambda: module
    return Subject(case, build, {} if file is None else digests(file)).numbers()
