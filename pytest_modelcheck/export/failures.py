"""From an exporter's exception to a typed `ExportFailure`: the kind, one sentence, the user's line, the way out."""

from __future__ import annotations

import linecache
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from pytest_modelcheck.errors import DISK_FULL_NEXT, DISK_FULL_SIGN
from pytest_modelcheck.export.exported import ExportFailure, FailureKind
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.store.installed import is_library

_PACKAGE = str(Path(__file__).resolve().parent.parent)

NEXT = {
    FailureKind.UNSUPPORTED_OPERATOR: "write it with supported operators, raise opset=, or try the other exporter",
    FailureKind.DATA_DEPENDENT_CONTROL_FLOW: "use torch.where or torch.cond there, or decide outside forward",
    FailureKind.DYNAMIC_SHAPE: "change dynamic_axes (another name, one axis less) or the shapes of the example inputs",
    FailureKind.SIGNATURE_MISMATCH: "let inputs() give what forward takes, by the names of its parameters",
    FailureKind.DISK_FULL: DISK_FULL_NEXT,
    FailureKind.OUT_OF_MEMORY: "free memory, or use a smaller model: an export holds three copies of the weights",
    FailureKind.UNKNOWN: "read the exporter's own words in the detail; the other exporter may take the model",
}
"""Kind of failure -> the way out, where the kind alone says it."""

# In the order in which they are tried; a pattern is looked for in "<exception type>: <message>" of the whole chain.
_SIGNS: tuple[tuple[FailureKind, str], ...] = (
    (FailureKind.DISK_FULL, DISK_FULL_SIGN),
    (
        FailureKind.OUT_OF_MEMORY,
        r"MemoryError|can't allocate memory|not enough memory|[Cc]annot allocate memory|out of memory",
    ),
    (
        FailureKind.DATA_DEPENDENT_CONTROL_FLOW,
        r"GuardOnDataDependentSymNode|[Dd]ata-dependent (?:expression|branching|control flow)|[Dd]ynamic control flow",
    ),
    (
        FailureKind.DYNAMIC_SHAPE,
        r"Constraints? violated|ConstraintViolation|specialized to be a constant|was specialized",
    ),
    (
        FailureKind.UNSUPPORTED_OPERATOR,
        r"UnsupportedOperatorError|No ONNX function found for[^\n]*|Exporting the operator|unrecognized namespace"
        r"|conversion of \w+ not implemented",
    ),
    (
        FailureKind.SIGNATURE_MISMATCH,
        r"TypeError:[^\n]*(?:missing \d+ required|unexpected keyword|positional arguments? but|multiple values for)",
    ),
)


def failure(
    case: ModelCase, kind: FailureKind, reason: str, *, next_step: str, error: BaseException | None = None
) -> ExportFailure:
    """A failure that we found ourselves; `error` is where its place and detail come from."""
    return ExportFailure(
        case_name=case.name,
        exporter="onnx" if case.onnx_path is not None else case.exporter,
        kind=kind,
        reason=_one_line(reason).removeprefix(f"{case.name}: "),
        where="" if error is None else _where(list(_chain(error)), ""),
        next=next_step,
        detail="" if error is None else "".join(traceback.format_exception(error)),
    )


def classify(
    case: ModelCase,
    error: BaseException,
    *,
    otherwise: FailureKind = FailureKind.UNKNOWN,
    next_step: str = "",
    heard: str = "",
) -> ExportFailure:
    """The failure that `error` stands for; `otherwise` where its words are not known."""
    chain = list(_chain(error))
    text = "\n".join(f"{type(item).__name__}: {item}" for item in chain)
    kind = next((kind for kind, sign in _SIGNS if re.search(sign, text)), otherwise)
    detail = "".join(traceback.format_exception(error))
    return ExportFailure(
        case_name=case.name,
        exporter=case.exporter,
        kind=kind,
        reason=_sentence(case, kind, text),
        where=_where(chain, text, inside_torch=kind is FailureKind.DATA_DEPENDENT_CONTROL_FLOW),
        next=NEXT.get(kind, next_step),
        detail=f"{heard}\n{detail}".strip(),
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that led to `error`, the first one first."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and not any(current is other for other in seen):
        seen.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return reversed(seen)


def _sentence(case: ModelCase, kind: FailureKind, text: str) -> str:
    """The first line that shows the kind; the first line at all where none does."""
    sign = dict(_SIGNS).get(kind)
    lines = [line for line in text.splitlines() if line.strip()]
    if sign is not None:
        lines = [line for line in lines if re.search(sign, line)] or lines
    first = _one_line(lines[0] if lines else "no message")
    if kind is FailureKind.DYNAMIC_SHAPE and (guard := re.search(r"(?m)^\s*- (.+?)(?: If you're using |$)", text)):
        first = f"{first.partition(' For more information')[0]} {guard[1]}"  # torch says what it found on the next line
    return first[:400].replace(f"ModelCaseError: {case.name}: ", "", 1)


def _where(chain: Sequence[BaseException], text: str, *, inside_torch: bool = False) -> str:
    """The innermost line of the user's own code, or else of a library that is not torch.

    With `inside_torch` followed by the line of torch's own modules that it calls, where that is the innermost one.

    Looked for in the tracebacks, in the stack that torch quotes in its message, and in the node that was being
    translated, which torch's message names without its line.
    """
    found = [
        *(_frames(f"{frame.filename}:{frame.lineno}" for frame in _tracebacks(chain))),
        *_frames(":".join(place) for place in re.findall(r'File "([^"]+)", line (\d+), in', text)),
        *(place for stack in _translated_nodes(chain) for place in _frames(stack)),
    ]
    user = [place for place in found if not is_library(place.rpartition(":")[0])]
    other = [place for place in found if "site-packages" in place and "site-packages/torch/" not in place]
    if not user and not other:
        return ""
    place = (user or other)[-1]
    after = found[found.index(place) + 1 :]
    modules = [frame for frame in after if inside_torch and re.search(_TORCH_MODULES, frame)]
    return _with_line(place) + (f", which calls {_with_line(modules[-1])}" if modules else "")


_TORCH_MODULES = r"site-packages/torch/nn/(modules|functional|attention)"


def _tracebacks(chain: Sequence[BaseException]) -> Iterator[traceback.FrameSummary]:
    for error in reversed(chain):
        yield from traceback.extract_tb(error.__traceback__)


def _frames(stack: Iterable[str]) -> list[str]:
    """The part of a stack, outermost frame first, that lies inside the module: our own last frame calls it."""
    frames = list(stack)
    own = [index for index, frame in enumerate(frames) if frame.startswith(_PACKAGE)]
    return frames[own[-1] + 1 :] if own else frames


def _translated_nodes(chain: Sequence[BaseException]) -> Iterator[list[str]]:
    """The stack, outermost frame first, of each node that an exporter was translating when it raised."""
    for error in chain:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            node = frame.f_locals.get("node")
            if isinstance(node, torch.fx.Node):
                yield [
                    ":".join(place) for place in re.findall(r'File "([^"]+)", line (\d+), in', node.stack_trace or "")
                ]
            elif isinstance(node, torch._C.Node):
                yield [":".join(place) for place in re.findall(r"(?m)^(\S+)\((\d+)\): ", str(node.sourceRange()))][::-1]


def _with_line(place: str) -> str:
    file, _, number = place.rpartition(":")
    line = linecache.getline(file, int(number)).strip()
    return f"{place}: {line}" if line else place


def _one_line(text: str) -> str:
    return " ".join(text.split())
