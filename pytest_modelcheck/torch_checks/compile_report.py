"""What ``torch.compile`` makes of a forward: where its graph breaks, and which inputs compile it again.

Dynamo traces and nothing is generated: the backend runs the graphs as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import torch

from pytest_modelcheck.calling import ModuleInputs, eval_mode
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.torch_checks.memory.forward import call_arguments

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_PLACE = re.compile(r"[^ :]+:\d+(?=: )")

AnyInputs = ModuleInputs | Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True, slots=True)
class CompileReport:
    """One line per place or cause.

    Attributes:
        graph_breaks: ``"models/net.py:12: generic_jump TensorVariable()"``.
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
            torch._dynamo.reset()
            explained = torch._dynamo.explain(module)(*args, **kwargs)
            torch._dynamo.reset()
            torch._dynamo.utils.counters["graph_break"].clear()
            recompiles = _recompiles(module, args, kwargs, further)
            found = [(_line(reason.reason, reason.user_stack), reason.reason) for reason in explained.break_reasons]
            found += _unlisted(module, args, kwargs, tuple(torch._dynamo.utils.counters["graph_break"]), found)
            return CompileReport(tuple(line for line, _ in found), recompiles)
        except Exception as error:  # whatever a user's forward raises becomes the error of the case
            raise ModelCaseError(f"the compiled forward raised {type(error).__name__}: {error}") from error
        finally:
            torch._dynamo.reset()


def _unlisted(
    module: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    counted: Sequence[str],
    listed: Sequence[tuple[str, str]],
) -> list[tuple[str, str]]:
    """The breaks that `torch._dynamo.explain` does not list: before the first operator, and in frames it gives up.

    What ``fullgraph=True`` refuses first comes with its place (inside ``try:`` and ``with`` dynamo leaves the whole
    frame to Python, and counts nothing); further ones are known by what dynamo counted while it compiled.
    """
    found: list[tuple[str, str]] = []
    torch._dynamo.reset()
    try:
        torch.compile(module, backend=lambda graph, example: graph.forward, fullgraph=True)(*args, **kwargs)
    except torch._dynamo.exc.TorchDynamoException as error:
        text = str(error)
        line = _line(text, getattr(error, "real_stack", None) or [])
        if _place(line) not in {_place(known) for known, _ in listed}:
            found.append((line, text))
    known = {part for line, text in (*listed, *found) for part in (_place(line), _reason(text))}
    more = [(_line(text, []), text) for text in counted if _reason(text) not in known]
    return found + [(line, text) for line, text in more if _place(line) not in known]


def _reason(text: str) -> str:
    """What identifies a reason: all that dynamo says before the traceback of the user's code."""
    return " ".join(text.partition("\nfrom user code")[0].split())


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


def _line(reason: str, stack: Sequence[Any]) -> str:
    text = " ".join(str(reason).split("\n")[0].split())
    places = [(frame.filename, str(frame.lineno)) for frame in stack] or _FRAME.findall(reason)
    if not places:
        return text
    file, line = places[-1]
    return f"{'/'.join(PurePath(file).parts[-2:])}:{line}: {text}"


def _place(line: str) -> str:
    """``models/net.py:12``, of a line that begins with one; else the line."""
    match = _PLACE.match(line)
    return match[0] if match else line
