"""Which rewrite of a foreign optimizer changed the numbers: bisected by the optimizer's own switches.

A foreign optimizer is one function from model to model; what it can be told to leave out are its switches. With n of
them in a fixed order, the first k are left on and the others off: none on is good, all on is bad, and bisection finds
the first k that is bad. Names must be exact, because optimizers take wrong ones silently: they are asked for, not
written down, and a rewrite counts as guilty only where leaving it out made the difference vanish.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir
import onnxruntime as ort

from pytest_modelcheck.accuracy.comparison import compare
from pytest_modelcheck.accuracy.guilty_pass import UnusableReferenceError, first_bad
from pytest_modelcheck.accuracy.metrics import Array, count_nan
from pytest_modelcheck.accuracy.stages import Inputs, feeds_for
from pytest_modelcheck.accuracy.tolerance import Width
from pytest_modelcheck.runtimes import SessionError, open_session
from pytest_modelcheck.runtimes.weights import split_weights

RULES = {
    "Level1_RuleBasedTransformer": (
        "EliminateIdentity",
        "EliminateSlice",
        "UnsqueezeElimination",
        "EliminateDropout",
        "ExpandElimination",
        "CastElimination",
        "CastChainElimination",
        "PreShapeNodeElimination",
        "NoopElimination",
        "DivMulFusion",
        "FuseReluClip",
        "GemmSumFusion",
        "GemmTransposeFusion",
        "NotWhereFusion",
        "ConvAddFusion",
        "ConvMulFusion",
        "ConvBNFusion",
        "Pad_Fusion",
        "MatmulBNFusion",
        "MatMulBNFusion",
        "LabelEncoderFusion",
    ),
    "Level2_RuleBasedTransformer": ("ClipQuantRewrite", "ReluQuantRewrite", "GemmTransposeFusion"),
}
"""onnxruntime's log names only the group of these rules (onnxruntime 1.20 to 1.31). A name that a release does not
have changes nothing there, so that it cannot be found guilty."""

_TRANSFORMER = re.compile(r"GraphTransformer (\S+) modified: 1")


@dataclass(frozen=True, slots=True)
class Switchable:
    """An optimizer with switches.

    Attributes:
        name: Its name in findings.
        switches: Exact names of the rewrites it can leave out, in a fixed order.
        run: Optimizes a model without the given rewrites.
    """

    name: str
    switches: tuple[str, ...]
    run: Callable[[onnx.ModelProto, frozenset[str]], onnx.ModelProto]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuiltySwitch:
    """The first rewrite of a foreign optimizer that made the numbers differ.

    Attributes:
        optimizer: Name of the optimizer.
        switch: Name of the rewrite; None where the numbers differ with every switch off.
        alone: Whether leaving out this one rewrite makes the numbers agree. Otherwise others do harm as well.
    """

    optimizer: str
    switch: str | None
    alone: bool

    def describe(self) -> str:
        """One line for a finding's `where`."""
        if self.switch is None:
            return f"{self.optimizer}: the numbers differ with every rewrite that it can leave out left out"
        rest = "" if self.alone else ", and further ones: without it alone the numbers still differ"
        return f"{self.optimizer}: rewrite {self.switch}{rest}"


def onnxslim_switches() -> Switchable:
    """onnxslim with its own fusion patterns as switches. Raises ImportError where it is not installed."""
    onnxslim = importlib.import_module("onnxslim")
    patterns = importlib.import_module("onnxslim.core.pattern.registry").DEFAULT_FUSION_PATTERNS

    def run(model: onnx.ModelProto, left_out: frozenset[str]) -> onnx.ModelProto:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        slimmed: onnx.ModelProto = onnxslim.slim(copy, skip_fusion_patterns=sorted(left_out))
        return slimmed

    return Switchable("onnxslim", tuple(patterns), run)


def find_guilty_switch(
    model: ir.Model, optimizer: Switchable, inputs: Inputs, *, atol: Width = None, rtol: Width = None
) -> GuiltySwitch | None:
    """Bisect the switches of `optimizer` on `model`; None where its result agrees with the model.

    Raises:
        UnusableReferenceError, SessionError: if the model gives NaN by itself, or cannot be run.
    """
    proto = ir.to_proto(model)

    def outputs(left_out: frozenset[str]) -> Mapping[str, Array]:
        return _outputs(ir.from_proto(optimizer.run(proto, left_out)), inputs)

    agrees = _agrees(_outputs(model, inputs), outputs, atol, rtol)
    return _bisect(optimizer.name, optimizer.switches, agrees)


def find_guilty_runtime_rewrite(
    model: ir.Model, inputs: Inputs, *, atol: Width = None, rtol: Width = None, threads: int = 1
) -> GuiltySwitch | None:
    """The same for onnxruntime's own optimizer, at its default level, by its `disabled_optimizers`."""

    def outputs(left_out: frozenset[str]) -> Mapping[str, Array]:
        session = open_session(model, optimizer=True, threads=threads, disabled_optimizers=sorted(left_out))
        return session.run(feeds_for(session, inputs))

    agrees = _agrees(_outputs(model, inputs), outputs, atol, rtol)
    found = _bisect("onnxruntime", runtime_rewrites(model), agrees)
    for rule in RULES.get(found.switch or "", ()) if found else ():
        if agrees(frozenset((rule,))):
            return GuiltySwitch(optimizer="onnxruntime", switch=rule, alone=True)
    return found


def runtime_rewrites(model: ir.Model) -> tuple[str, ...]:
    """The rewrites of onnxruntime that change `model`, in their order, by the exact names that its log gives."""
    split = split_weights(model)
    options = ort.SessionOptions()
    options.log_severity_level = 1
    options.intra_op_num_threads = 1
    options.add_external_initializers(list(split.names), list(split.values))
    with tempfile.TemporaryFile() as log:
        sys.stderr.flush()
        saved = os.dup(2)  # the log is written by C++ code, to the process's own stderr
        try:
            os.dup2(log.fileno(), 2)
            ort.InferenceSession(split.content, options, providers=["CPUExecutionProvider"])
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        log.seek(0)
        text = log.read().decode(errors="replace")
    return tuple(dict.fromkeys(_TRANSFORMER.findall(text)))


def _outputs(model: ir.Model, inputs: Inputs) -> Mapping[str, Array]:
    session = open_session(model, optimizer=False)
    return session.run(feeds_for(session, inputs))


def _agrees(
    reference: Mapping[str, Array],
    outputs: Callable[[frozenset[str]], Mapping[str, Array]],
    atol: Width,
    rtol: Width,
) -> Callable[[Iterable[str]], bool]:
    if any(count_nan(array) for array in reference.values()):
        raise UnusableReferenceError("the model gives NaN by itself: no rewrite is to blame")

    def agrees(left_out: Iterable[str]) -> bool:
        try:
            candidate = outputs(frozenset(left_out))
        except SessionError:
            return False
        return not any(output.status.failed for output in compare(reference, candidate, atol=atol, rtol=rtol).outputs)

    return agrees


def _bisect(name: str, switches: Sequence[str], agrees: Callable[[Iterable[str]], bool]) -> GuiltySwitch | None:
    if agrees(()):
        return None
    if not switches or not agrees(switches):
        return GuiltySwitch(optimizer=name, switch=None, alone=False)
    bad = first_bad(len(switches), lambda count: agrees(switches[count:]))
    guilty = switches[bad - 1]
    return GuiltySwitch(optimizer=name, switch=guilty, alone=agrees((guilty,)))
