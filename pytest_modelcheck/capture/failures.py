"""From what a tracer raised to a `CaptureFailure`: kind, one sentence, the user's line, what to change."""

from __future__ import annotations

import inspect
import re
import traceback
from dataclasses import dataclass
from pathlib import Path

import torch

from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.capture.captured import CaptureFailure, CaptureFailureKind
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import ModelCase

K = CaptureFailureKind
_BY_EXPORT = "capture with how='export', which traces with real sizes"


@dataclass(frozen=True, slots=True)
class Symptom:
    """What a kind of failure looks like.

    Attributes:
        kind: The kind.
        pattern: Regular expression over the user's source line and the tracer's message, one above the other.
        reason: The cause in one sentence.
        remedy: What to change.
    """

    kind: CaptureFailureKind
    pattern: str
    reason: str
    remedy: str


ON_VALUE = Symptom(
    K.DATA_DEPENDENT_CONTROL_FLOW,
    r"[Dd]ata-dependent|GuardOnDataDependent",
    "the forward's path depends on the values of a tensor, which a capture does not have",
    "compute both branches and choose with torch.where, use torch.cond, or decide outside the forward",
)
ON_SIZE = Symptom(
    K.SHAPE_DEPENDENT_CONTROL_FLOW,
    r"cannot be used as inputs to control flow|int\(\) argument must be|cannot be interpreted as an integer|"
    r"Proxy object cannot be iterated|float\(\) argument must be",
    "the forward's path depends on a size, which symbolic_trace does not know",
    _BY_EXPORT,
)
SYMPTOMS: tuple[Symptom, ...] = (
    ON_VALUE,
    ON_SIZE,
    Symptom(
        K.DYNAMIC_TENSOR_CONSTRUCTION,
        r"torch\.(as_)?tensor\(|(zeros|ones|empty|full|rand|randn|eye|arange|linspace)\(\)",
        "the forward makes a tensor of numbers that are not known while it is traced",
        "capture with how='export', or make the tensor from an existing one (x.new_zeros, torch.zeros_like)",
    ),
    Symptom(
        K.IN_PLACE_WRITE,
        r"does not support item assignment",
        "the forward writes into a part of a tensor, which symbolic_trace cannot record",
        "capture with how='export', or build the result with torch.where, torch.cat or index_put",
    ),
    Symptom(
        K.SIGNATURE_MISMATCH,
        r"missing \d+ required|unexpected keyword argument|multiple values for argument|takes \d+ positional|"
        r"has no parameter named",
        "the inputs do not fit the forward's signature",
        "let inputs() return a dict with the names of the forward's parameters",
    ),
    Symptom(
        K.UNSUPPORTED_CALL,
        r"UnsupportedOperator|[Uu]nsupported|not supported|no fake impl|NotImplementedError|DynamicOutputShape|Proxy",
        "the forward hands a traced tensor to something that has no traceable form",
        "keep to torch operations there, or register the call with torch.library.custom_op and a fake implementation",
    ),
)
"""In the order in which they are tried; the first that matches counts."""

DTYPES = r"same dtype|expected scalar type|must have the same dtype|Input type .* and (weight|bias) type|dtype mismatch"


def explain(
    case: ModelCase,
    module: torch.nn.Module,
    inputs: ModuleInputs,
    error: Exception,
    forward_error: ModelCaseError | None,
) -> CaptureFailure:
    """The failure that `error` means; `forward_error` is what the plain forward raised, if it did."""
    where = source_line(error, module)
    if forward_error is not None and forward_error.__cause__ is None:  # it ran: its outputs are not those of the case
        said = str(forward_error).removeprefix(f"{case.name}: ")
        return CaptureFailure(
            case_name=case.name, kind=K.OUTPUTS_FAILED, reason=said, where="", next="fix output_names="
        )
    if forward_error is not None:
        return _of_forward(case, module, inputs, str(forward_error), where)
    said = f"{type(error).__name__}: {error}"
    symptom = next((symptom for symptom in SYMPTOMS if re.search(symptom.pattern, f"{where}\n{said}")), None)
    if symptom is ON_SIZE and not _is_about_a_size(error):
        symptom = ON_VALUE
    if symptom is None:
        return CaptureFailure(
            case_name=case.name,
            kind=K.UNKNOWN,
            reason=_first_line(said),
            where=where,
            next="read the tracer's own words in the detail; the other way to capture may take the module",
            detail="".join(traceback.format_exception(error)),
        )
    return CaptureFailure(
        case_name=case.name,
        kind=symptom.kind,
        reason=symptom.reason,
        where=where,
        next=symptom.remedy,
        detail="".join(traceback.format_exception(error)),
    )


def _of_forward(
    case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs, said: str, where: str
) -> CaptureFailure:
    """The module does not run with its own inputs: the reason lies in the case, not in the tracer."""
    devices = sorted({str(tensor.device) for tensor in (*module.parameters(), *module.buffers())})
    given = sorted({str(tensor.device) for tensor in inputs.values})
    if devices and len({*devices, *given}) > 1:
        kind, remedy = K.DEVICE_MISMATCH, "let build() and inputs() put everything on one device"
        said = f"the module is on {', '.join(devices)} and its inputs are on {', '.join(given)}"
    elif re.search(DTYPES, said):
        floats = sorted({str(tensor.dtype) for tensor in module.parameters() if tensor.is_floating_point()})
        kind, remedy = K.DTYPE_MISMATCH, f"let inputs() return tensors of the module's dtype ({', '.join(floats)})"
    elif re.search(SYMPTOMS[4].pattern, said):
        kind, remedy = K.SIGNATURE_MISMATCH, SYMPTOMS[4].remedy
    else:
        kind, remedy = K.FORWARD_FAILED, "fix forward() or the input shapes: the module already fails in eager mode"
    return CaptureFailure(case_name=case.name, kind=kind, reason=said, where=where, next=remedy)


def _is_about_a_size(error: BaseException) -> bool:
    """Whether the value that symbolic_trace could not turn into a number was made of sizes alone.

    It is the last node that was traced: the conversion raises before anything else is recorded.
    """
    graphs = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    tracer = next((found for found in graphs if isinstance(found, torch.fx.Tracer)), None)
    if tracer is None:
        return True
    *_, last = tracer.graph.nodes
    waiting, seen = [last], set()
    while waiting:
        node = waiting.pop()
        if node in seen or _asks_for_a_size(node):
            continue
        seen.add(node)
        if node.op in ("placeholder", "get_attr", "call_module"):
            # a loop over the rows of an input itself needs their number only
            return node is last and "iterated" in str(error)
        waiting += node.all_input_nodes
    return True


def _asks_for_a_size(node: torch.fx.Node) -> bool:
    if node.op == "call_method":
        asked = node.target in ("size", "dim", "numel", "ndimension", "nelement")
    else:
        asked = node.target is getattr and node.args[1] in ("shape", "ndim")
    return asked and not any(_counts_values(source) for source in node.all_input_nodes)


def _counts_values(node: torch.fx.Node) -> bool:
    """Whether the size of a result depends on values."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name in ("nonzero", "unique", "masked_select", "argwhere")


def source_line(error: BaseException, module: torch.nn.Module) -> str:
    """The innermost line of the traceback that is in the source file of one of the module's classes."""
    files = {_source_file(type(submodule)) for submodule in module.modules()}
    files = {file for file in files if file and f"{Path('torch') / 'nn'}" not in file}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    if not frames:
        return ""
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}: {frames[-1].line}"


def _source_file(cls: type) -> str:
    try:
        return inspect.getfile(cls)
    except (TypeError, OSError):
        return ""


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:300]
