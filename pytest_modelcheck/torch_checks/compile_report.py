"""What ``torch.compile`` makes of a forward: where its graph breaks, and which inputs compile it again.

Dynamo traces and nothing is generated: the backend runs the graphs as they are.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import torch

from pytest_modelcheck.calling import ModuleInputs, eval_mode
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.torch_checks.memory.forward import call_arguments

_BREAK = re.compile(r"^Graph break in user code at (.+):(\d+)\nGraph Break Reason: (.*:\n\n)?(.*)", re.MULTILINE)

AnyInputs = ModuleInputs | Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True, slots=True)
class CompileReport:
    """One line per place or cause.

    Attributes:
        graph_breaks: ``"models/net.py:12: Data-dependent branching"``, one entry per source line.
        recompiles: ``"inputs 1 compiled a graph again"``, one entry per graph.
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
            return CompileReport(_graph_breaks(module, args, kwargs), _recompiles(module, args, kwargs, further))
        except Exception as error:  # whatever a user's forward raises becomes the error of the case
            raise ModelCaseError(f"the compiled forward raised {type(error).__name__}: {error}") from error
        finally:
            torch._dynamo.reset()


class _Traced(logging.Handler):
    """Keeps what dynamo writes into torch's structured trace about each graph break."""

    def __init__(self) -> None:
        super().__init__()
        self.breaks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "metadata", {}).get("artifact", {}).get("name") == "dynamo_graph_break_reason":
            self.breaks.append(str(getattr(record, "payload", "")))


def _graph_breaks(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...]:
    """One line for each source line that breaks the graph.

    `torch._dynamo.explain` lists none before the first operator, and none in frames that dynamo gives up (``try:``,
    ``with lock:``); the trace has them all, a line once for each frame that runs it.
    """
    trace, traced = logging.getLogger("torch.__trace"), _Traced()
    counted = torch._dynamo.utils.counters["graph_break"]
    torch._dynamo.reset()
    counted.clear()
    trace.addHandler(traced)
    try:
        torch.compile(module, backend=lambda graph, example: graph.forward)(*args, **kwargs)
    finally:
        trace.removeHandler(traced)
    found = {}
    for text in traced.breaks:
        if match := _BREAK.search(text):
            file, line, how, reason = match.groups()
            rest = "; the rest of the function runs in Python" if "falling back to eager" in (how or "") else ""
            found[file, line] = f"{'/'.join(PurePath(file).parts[-2:])}:{line}: {reason}{rest}"
    # What was counted and has no place in the trace is a break all the same.
    reasons = (text.partition("\n")[0] for text in counted)
    return (*found.values(), *(reason for reason in reasons if not any(reason in text for text in traced.breaks)))


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
        found += [f"inputs {number} compiled a graph again"] * (compiled - before)
    return tuple(found)
