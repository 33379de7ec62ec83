"""``expect_ops``: operator counts."""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_modelcheck.bounds import COUNT, Bound
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, choice, named_bound, shortened
from pytest_modelcheck.result import Finding

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck

Stage = Literal["exported", "optimized"]
STAGES: tuple[Stage, ...] = ("exported", "optimized")


@dataclass(frozen=True, slots=True)
class ExpectOps:
    """Operator -> bound on its count, at one stage."""

    stage: Stage
    counts: tuple[tuple[str, Bound], ...]


def parse(stage: str = "optimized", **ops: Any) -> ExpectOps:
    """the graph at this stage (exported, optimized) holds each operator this often, e.g. Attention=12, Transpose="<=4"

    Raises:
        MarkerError: on an unknown stage, no operator at all, or Constant, which is not counted.
        BoundError: on a bound that cannot be read, or a percentage.
    """
    chosen = choice("stage", stage, STAGES)
    if not ops:
        raise MarkerError("names no operator; write e.g. Attention=12")
    counts = []
    for op, expected in ops.items():
        if op == "Constant":
            raise MarkerError("Constant nodes are not counted: what they hold is an initializer by another name")
        bound = named_bound(op, expected, COUNT)
        if bound.percent or bound.whole is not None:
            raise BoundError(f"{op}={expected!r}: a node count is a plain number")
        counts.append((op, bound))
    return ExpectOps(chosen, tuple(counts))


def validate(expectation: ExpectOps, passes: tuple[str, ...]) -> None:
    """Check the operator names: a bound such as ``"<=4"`` on a name that cannot exist would always hold.

    A domain that is neither ONNX's nor onnxruntime's, nor close to one, is the user's own, and so are its names.

    Raises:
        MarkerError: naming the operator or domain that does not exist, and the close match.
    """
    for op, _ in expectation.counts:
        if wrong := wrong_operator(op):
            raise MarkerError(wrong)


def wrong_operator(op: str) -> str:
    """Why there can be no operator ``op`` (``"Conv"``, ``"com.microsoft:FusedConv"``); empty where there can."""
    if op in USUAL:
        return ""
    known = _known_operators()
    domain, _, name = op.rpartition(":")
    if domain not in known:
        close = difflib.get_close_matches(domain, filter(None, known), n=1, cutoff=0.8)
        return f"{op!r}: there is no domain {domain!r}; did you mean {close[0]!r}?" if close else ""
    if name in known[domain] or not known[domain]:  # of a runtime that is not installed only the domain is known
        return ""
    close = difflib.get_close_matches(name, known[domain], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    other = "" if domain else " (one of another domain is written domain:name)"
    return f"{domain or 'ONNX'} has no operator {name!r}{hint}{other}"


_USUAL = """
Add And ArgMax Attention AveragePool BatchNormalization Cast Clip Concat Conv ConvTranspose DequantizeLinear Div Einsum
Equal Erf Exp Expand Flatten Gather GatherND Gelu Gemm GlobalAveragePool Greater Identity If IsNaN LSTM Less
LayerNormalization Loop MatMul Max MaxPool Min Mul Neg NonZero Not Pad Pow QuantizeLinear RMSNormalization Range
ReduceMax ReduceMean ReduceSum Relu Reshape Resize Scan ScatterND Shape Sigmoid Slice Softmax Split Sqrt Squeeze Sub
Tanh Tile TopK Transpose Unsqueeze Where
"""
USUAL = frozenset(_USUAL.split())
"""Operators of ONNX that are known without importing onnx: a collection of many tests loads nothing."""


@functools.cache
def _known_operators() -> dict[str, set[str]]:
    """Domain -> the names of its operators, as onnx and the installed runtimes list them."""
    import onnx

    from pytest_modelcheck.runtimes import RUNTIMES

    known: dict[str, set[str]] = {"": set()}
    for schema in onnx.defs.get_all_schemas():
        known.setdefault(schema.domain, set()).add(schema.name)
    for runtime in RUNTIMES:
        has = runtime.operators() if runtime.installed else dict.fromkeys(runtime.domains, ())
        for domain, names in has.items():
            known.setdefault(domain, set()).update(names)
    return known


def check(modelcheck: ModelCheck, expectation: ExpectOps) -> GateResult:
    """Compare the operator counts of the exported or the optimized graph."""
    found = modelcheck.graphs.op_counts(expectation.stage)
    findings = []
    for op, bound in expectation.counts:
        count = found.get(op, 0)
        if not bound.holds(count):
            findings.append(_finding(modelcheck, expectation.stage, op, bound, count))
    measured = ", ".join(f"{op} {found.get(op, 0)}" for op, _ in expectation.counts)
    return GateResult(gate=GATE.name, measured=measured, findings=tuple(findings))


def _finding(modelcheck: ModelCheck, stage: Stage, op: str, bound: Bound, count: int) -> Finding:
    next_step = f"If the change is meant, write {op}={count} in the marker."
    if count == 0 and (close := _close(modelcheck.graphs.op_counts(stage), op)):
        next_step = f"The graph has {close}; if that is the operator you mean, name it. {next_step}"
    if count and op in _MEANT:
        next_step = f"{_MEANT[op]} {next_step}"
    return modelcheck.finding(
        GATE.name,
        op,
        bound,
        str(count),
        stage=stage,
        where=(
            *_since_recorded(modelcheck, op),
            *(_holders(modelcheck, stage, op) if count else _refusals(modelcheck, stage)),
        ),
        next=next_step,
    )


_MEANT = {"Tile": "A Tile writes every repeat; where they are only read, expand() or broadcasting writes none."}
"""What an operator that is there too often is usually meant to be."""


def _close(counts: dict[str, int], op: str) -> str | None:
    """An operator of the graph whose name is close, case aside, with its count."""
    names = {name.lower(): name for name in counts}
    close = difflib.get_close_matches(op.lower(), names, n=1, cutoff=0.8)
    return f"{names[close[0]]} {counts[names[close[0]]]}" if close else None


def _since_recorded(modelcheck: ModelCheck, op: str) -> tuple[str, ...]:
    """In which modules the exported graph has the operator more or less often than the test's locked module table."""
    from pytest_modelcheck.hierarchy import op_changes, parse
    from pytest_modelcheck.snapshots.text import split

    recorded = modelcheck.locked.text("modules")
    if recorded is None:
        return ()
    try:
        before = parse(split(recorded).body)
    except ValueError:  # the comparison of the snapshot itself says that it is not a module table
        return ()
    return shortened([f"{line}, against the snapshot" for line in op_changes(before, modelcheck.modules, op)])


def _holders(modelcheck: ModelCheck, stage: Stage, op: str) -> tuple[str, ...]:
    """The modules that own nodes of this operator, repeated layers folded."""
    from pytest_modelcheck.hierarchy.folded_rows import fold_rows

    rows = (
        (row.path, sum(count for label, count in row.ops if label.partition("(")[0] == op))
        for row in modelcheck.graphs.modules(stage).rows
    )
    return shortened(
        [
            f"{folded.text}: {folded.row} x {op}{f' each (x{len(folded.paths)})' if len(folded.paths) > 1 else ''}"
            for folded in fold_rows((path, count) for path, count in rows if count)
        ]
    )


def _refusals(modelcheck: ModelCheck, stage: Stage) -> tuple[str, ...]:
    """For an operator that is nowhere: what the passes considered and left alone."""
    if stage == "exported":
        return ()
    rows = modelcheck.attribution.passes
    return shortened([f"refused by {row.name}, {count} x: {reason}" for row in rows for reason, count in row.reasons])


GATE = Gate("expect_ops", parse, check, validate)
