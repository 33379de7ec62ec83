"""Floating point operations of one forward pass, counted on fake tensors: nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedOperatorException,
)

from pytest_modelcheck.calling import ModuleInputs, eval_mode
from pytest_modelcheck.calling.flop_counter import flop_counter
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.torch_checks.memory.forward import call_arguments, fake_call


@dataclass(frozen=True, slots=True)
class FlopUse:
    """Floating point operations of one forward pass.

    Attributes:
        total: All of them.
        by_op: ``"addmm"`` -> operations; the largest first.
    """

    total: int
    by_op: tuple[tuple[str, int], ...]


def count_flops(module: torch.nn.Module, inputs: ModuleInputs | Mapping[str, Any] | Sequence[Any]) -> FlopUse:
    """Count one forward pass in eval mode, without gradients.

    Raises:
        ModelCaseError: if the forward raises.
    """
    args, kwargs = call_arguments(inputs)
    with torch.no_grad(), eval_mode(module), torch.random.fork_rng(devices=[]):
        try:
            fake, call, _ = fake_call(module, args, kwargs)
            with fake, flop_counter() as counter:
                call()
        except (DataDependentOutputException, DynamicOutputShapeException, UnsupportedOperatorException):
            with flop_counter() as counter:
                module(*args, **kwargs)
        except Exception as error:  # whatever a user's forward raises becomes the error of the case
            raise ModelCaseError(f"the forward raised {type(error).__name__}: {error}") from error
    by_op = {
        str(op).rpartition(".")[2]: int(count) for op, count in counter.get_flop_counts().get("Global", {}).items()
    }
    return FlopUse(counter.get_total_flops(), tuple(sorted(by_op.items(), key=lambda item: -item[1])))
