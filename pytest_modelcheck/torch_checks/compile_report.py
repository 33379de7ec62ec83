"""What ``torch.compile`` makes of a forward: where its graph breaks, and which inputs compile it again.

Dynamo traces and nothing is generated: the backend runs the graphs as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import torch

from pytest_modelcheck.calling import ModuleInputs, eval_mode
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.torch_checks.memory.forward import call_arguments

AnyInputs = ModuleInputs | Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True, slots=True)
class CompileReport:
    """One line per place or cause.

    Attributes:
        graph_breaks: ``"models/net.py:12: generic_jump TensorVariable()"``.
        recompiles: ``"inputs 1 compiled 2 graphs more"``, one entry per graph.
    """

    graph_breaks: tuple[str, ...]
    recompiles: tuple[str, ...]


def compile_report(module: torch.nn.Module, inputs: AnyInputs, further: Sequence[AnyInputs] = ()) -> CompileReport:
    """Trace one forward in eval mode, then run what was traced with `further` inputs.

    Raises:
        ModelCaseError: if the forward raises.
    """
    args, kwargs = call_arguments(inputs)
    with torch.no_grad(), eval_mode(module), torch.random.fork_rng(devices=[]):
        try:
            torch._dynamo.reset()
            explained = torch._dynamo.explain(module)(*args, **kwargs)
            breaks = tuple(_line(reason) for reason in explained.break_reasons)
            return CompileReport(breaks, _recompiles(module, args, kwargs, further))
        except Exception as error:
            raise ModelCaseError(f"the compiled forward raised {type(error).__name__}: {error}") from error
        finally:
            torch._dynamo.reset()


def _recompiles(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], further: Sequence[AnyInputs]
) -> tuple[str, ...]:
    compiled = 0

    def as_it_is(graph: torch.fx.GraphModule, example: Any) -> Any:
        nonlocal compiled
        compiled += 1
        return graph.forward

    torch._dynamo.reset()
    run = torch.compile(module, backend=as_it_is)
    run(*args, **kwargs)
    found: list[str] = []
    for number, inputs in enumerate(further, start=1):
        before = compiled
        other_args, other_kwargs = call_arguments(inputs)
        run(*other_args, **other_kwargs)
        found += [f"inputs {number} compiled a graph anew"] * (compiled - before)
    return tuple(found)


def _line(reason: Any) -> str:
    text = " ".join(str(reason.reason).split("\n")[0].split())
    if not reason.user_stack:
        return text
    frame = reason.user_stack[-1]
    return f"{'/'.join(PurePath(frame.filename).parts[-2:])}:{frame.lineno}: {text}"
