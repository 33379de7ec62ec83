"""Running passes over a model, and the record of what each one really did.

A pass is one of ours (`passes.Pass`), any `onnx_ir.passes.PassBase`, or any function from `onnx.ModelProto` to
`onnx.ModelProto`. What a pass claims (its `modified` flag) and what changed (the graph, compared) are two facts.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import zip_longest
from pathlib import Path
from typing import overload

import onnx
import onnx_ir as ir

from pytest_modelcheck.errors import OptionError, PassFailedError
from pytest_modelcheck.graph.compare import graphs_equal, interface
from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.graph.files import load_model, save_model
from pytest_modelcheck.graph.validity import check_model, infer_shapes
from pytest_modelcheck.passes import PASSES, PREPARATION_PASSES, TARGETS, Pass, Target
from pytest_modelcheck.result import Refused

AnyPass = ir.passes.PassBase | Callable[[onnx.ModelProto], onnx.ModelProto]


class PassStatus(StrEnum):
    """`FIRED`: the graph changed. `NO_OP`: nothing to do. `REFUSED`: candidates, all left alone. `ERROR`: it raised."""

    FIRED = "fired"
    NO_OP = "no_op"
    REFUSED = "refused"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRecord:
    """What one pass did to one model.

    Attributes:
        name: Column name of the matrix.
        status: See `PassStatus`.
        claimed: What the pass says: whether it modified the model.
        changed: Whether the graph before and after differ (operators, connections, attributes, initializers).
        ops_before, ops_after: Operator -> node count, Constants left out.
        refusals: Rewrites considered and not made, with their reasons.
        seconds: Wall time of the pass itself, checks left out.
        notes: What the user has to know about the result, in the pass's words.
        error: For `ERROR`: what went wrong, naming the node where known; else None.
    """

    name: str
    status: PassStatus
    claimed: bool
    changed: bool
    ops_before: dict[str, int]
    ops_after: dict[str, int]
    refusals: tuple[Refused, ...] = ()
    seconds: float = 0.0
    error: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def delta(self) -> int:
        """Signed change of the node count: -72 means 72 nodes fewer."""
        return sum(self.ops_after.values()) - sum(self.ops_before.values())

    @property
    def ops_delta(self) -> dict[str, int]:
        """Operator -> signed change, unchanged operators left out."""
        ops = sorted(self.ops_before.keys() | self.ops_after.keys())
        deltas = {op: self.ops_after.get(op, 0) - self.ops_before.get(op, 0) for op in ops}
        return {op: delta for op, delta in deltas.items() if delta}


def pass_name(pass_: AnyPass) -> str:
    """The column name of a pass: its `name`, else its function or class name."""
    name = getattr(pass_, "name", None) or getattr(pass_, "__name__", None) or type(pass_).__name__
    return str(name)


def known_pass_names(names: Sequence[str] = ()) -> tuple[str, ...]:
    """Every name an expectation may use: all passes of this package, and those that the pipeline names besides."""
    own = tuple(pass_.name for pass_ in (*PASSES, *PREPARATION_PASSES))
    return own + tuple(pass_name(pass_) for pass_ in resolve_passes(names) or () if pass_name(pass_) not in own)


def resolve_passes(names: Sequence[str]) -> tuple[AnyPass, ...] | None:
    """The pipeline that these names make: passes of this package, or ``module:attribute`` of anybody's.

    Returns:
        None for no names: the default pipeline.

    Raises:
        OptionError: naming the pass that does not exist, with the close match.
    """
    return tuple(_resolve(name.strip()) for name in names if name.strip()) or None


def _resolve(name: str) -> AnyPass:
    own = {pass_.name: pass_ for pass_ in (*PASSES, *PREPARATION_PASSES)}
    if name in own:
        return own[name]
    if ":" not in name:
        close = difflib.get_close_matches(name, own, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(own)}; or write module:attribute"
        raise OptionError(f"pass {name!r} is unknown; {hint}")
    module_name, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        made = found() if isinstance(found, type) else found
    except Exception as error:  # anybody's module and class: whatever they raise, the option names them
        raise OptionError(f"pass {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(made, ir.passes.PassBase) and not callable(made):
        raise OptionError(f"pass {name!r} is a {type(made).__name__}: neither an onnx_ir pass nor a function")
    resolved: AnyPass = made
    return resolved


def run_pass(model: ir.Model, pass_: AnyPass, target: Target = "portable") -> tuple[ir.Model, PassRecord]:
    """Run one pass on a copy of `model` (weights shared) and compare.

    The result must pass onnx.checker and keep names, order, types and shapes of the graph's inputs and outputs.

    Returns:
        The new model and its record. On `PassStatus.ERROR` the model is `model` itself.
    """
    after, record = run_prepared(prepare(model), pass_, target)
    return (after if record.changed else model), record


def prepare(model: ir.Model) -> ir.Model:
    """A copy of `model`, weights shared, with every type and shape that can be inferred."""
    copy = model.clone()
    infer_shapes(copy)
    return copy


def run_prepared(
    before: ir.Model, pass_: AnyPass, target: Target = "portable", *, goes_on: bool = True
) -> tuple[ir.Model, PassRecord]:
    """`run_pass` on a model that `prepare` or this function made; it is not touched.

    Args:
        goes_on: Prepare the result for a further pass; False where only the record is of interest.
    """
    ops_before = op_counts(before)
    started = time.perf_counter()
    try:
        after, claimed, refusals, notes = _apply(before.clone(), pass_, target)
        seconds = time.perf_counter() - started
        changed = not graphs_equal(before, after)
        if changed:
            _check_result(before, after, shapes=not getattr(pass_, "changes_shapes", False))
            if goes_on:
                infer_shapes(after)
    except Exception as error:  # a pass may be anybody's code: whatever it raises becomes its record
        return before, PassRecord(
            name=pass_name(pass_),
            status=PassStatus.ERROR,
            claimed=False,
            changed=False,
            ops_before=ops_before,
            ops_after=ops_before,
            seconds=time.perf_counter() - started,
            error=f"{type(error).__name__}: {error}",
        )
    status = PassStatus.FIRED if changed else PassStatus.REFUSED if refusals else PassStatus.NO_OP
    record = PassRecord(
        name=pass_name(pass_),
        status=status,
        claimed=claimed,
        changed=changed,
        ops_before=ops_before,
        ops_after=op_counts(after),
        refusals=refusals,
        seconds=seconds,
        notes=notes,
    )
    return (after if changed else before), record


def _apply(
    model: ir.Model, pass_: AnyPass, target: Target
) -> tuple[ir.Model, bool, tuple[Refused, ...], tuple[str, ...]]:
    if isinstance(pass_, Pass):
        pass_ = dataclasses.replace(pass_, target=target)
    if isinstance(pass_, ir.passes.PassBase):
        result = pass_(model)
        return result.model, result.modified, getattr(result, "refusals", ()), getattr(result, "notes", ())
    made = pass_(ir.to_proto(model))
    if not isinstance(made, onnx.ModelProto):
        raise PassFailedError(f"{pass_name(pass_)} returned {type(made).__name__}, not an onnx.ModelProto")
    return ir.from_proto(made), True, (), ()


def _check_result(before: ir.Model, after: ir.Model, *, shapes: bool = True) -> None:
    check_model(after, what="the result")
    compared = 4 if shapes else 3
    for was, now in zip_longest(interface(before), interface(after)):
        if was is None or now is None or was[:compared] != now[:compared]:
            raise PassFailedError(f"the graph's interface changed: {_row(was)} became {_row(now)}")


def _row(row: tuple[str, str, str, str] | None) -> str:
    return "nothing" if row is None else f"{row[0]} {row[1]!r} {row[2]} {row[3]}"


def run_pipeline(
    model: ir.Model, passes: Sequence[AnyPass] | None = None, target: Target = "portable"
) -> tuple[ir.Model, tuple[PassRecord, ...]]:
    """Run passes in order. `model` is not touched; weights are shared with the result.

    A pass that fails leaves its record with status `error`, and the pipeline goes on from the model before it.

    Args:
        model: A valid model.
        passes: Default: `passes.PASSES`.
        target: ``portable``, ``opset23`` or ``onnxruntime``.

    Returns:
        The last model and one record per pass, in order.

    Raises:
        InvalidModelError: if `model` itself does not pass the checker.
    """
    check_target(target)
    check_model(model)
    current = prepare(model)
    records = []
    for pass_ in PASSES if passes is None else passes:
        current, record = run_prepared(current, pass_, target)
        records.append(record)
    return current, tuple(records)


def check_target(target: str) -> None:
    """Raises OptionError, naming the known targets, if `target` is not one."""
    if target not in TARGETS:
        raise OptionError(f"target {target!r} is unknown; choose one of {', '.join(TARGETS)}")


@overload
def optimize(
    model: onnx.ModelProto, *, passes: Sequence[AnyPass] | None = ..., target: Target = ...
) -> onnx.ModelProto: ...
@overload
def optimize(model: ir.Model, *, passes: Sequence[AnyPass] | None = ..., target: Target = ...) -> ir.Model: ...
@overload
def optimize(
    model: str | Path, *, passes: Sequence[AnyPass] | None = ..., target: Target = ..., output: str | Path | None = ...
) -> Path: ...
def optimize(
    model: onnx.ModelProto | ir.Model | str | Path,
    *,
    passes: Sequence[AnyPass] | None = None,
    target: Target = "portable",
    output: str | Path | None = None,
) -> onnx.ModelProto | ir.Model | Path:
    """Optimize a model and give back the same kind, as a new object (for a path: the path written).

    Args:
        model: `onnx.ModelProto`, `onnx_ir.Model`, or the path of an .onnx file.
        passes: Default: `passes.PASSES`.
        target: ``portable``, ``opset23`` or ``onnxruntime``.
        output: For a path: where to write. Default: ``<stem>.optimized.onnx`` beside it.

    Raises:
        InvalidModelError: if `model` is not a valid model.
        PassFailedError: if a pass raises or leaves an invalid model; nothing is written.
    """
    if isinstance(model, ir.Model):
        return _optimized(model, passes, target)
    if isinstance(model, onnx.ModelProto):
        return ir.to_proto(_optimized(ir.from_proto(model), passes, target))
    path = Path(model)
    destination = Path(output) if output else path.with_name(f"{path.stem}.optimized.onnx")
    save_model(_optimized(load_model(path), passes, target), destination)
    return destination


def _optimized(model: ir.Model, passes: Sequence[AnyPass] | None, target: Target) -> ir.Model:
    optimized, records = run_pipeline(model, passes, target)
    for record in records:
        if record.status is PassStatus.ERROR:
            raise PassFailedError(f"{record.name}: {record.error}")
    return optimized
