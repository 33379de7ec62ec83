"""`optimize` works on one graph and checks it once; where that fails, the run that checks every pass names it."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.errors import PassFailedError
from pytest_modelcheck.passes import PASSES, Pass
from pytest_modelcheck.passes.settle import Settle
from pytest_modelcheck.pipeline import optimize, run_pipeline
from pytest_modelcheck.pipeline.in_place import run_in_place
from pytest_modelcheck.rewriting.rewriter import Rewriter
from tests.passes.fusing_checks import make

TEXT = '<ir_version: 10, opset_import: ["" : 17]> g (float[N,3] x) => (float[N,3] y) '
MODEL = make(
    TEXT + "{ a = Add (x, z) b = Identity (a) c = Relu (b) y = MatMul (c, w) }",
    z=np.zeros(3, np.float32),
    w=np.eye(3, dtype=np.float32),
)


@dataclass(frozen=True)
class BreakTheGraph(Pass):
    name: ClassVar[str] = "break_the_graph"

    def rewrite(self, rewriter: Rewriter) -> None:
        for node in rewriter.nodes("Relu"):
            node.op_type = "Rleu"
            rewriter.edited()


@dataclass(frozen=True)
class RenameTheOutput(Pass):
    name: ClassVar[str] = "rename_the_output"

    def rewrite(self, rewriter: Rewriter) -> None:
        rewriter.model.graph.outputs[0].name = "z"
        rewriter.edited()


@dataclass(frozen=True)
class Raise(Pass):
    name: ClassVar[str] = "raise"

    def rewrite(self, rewriter: Rewriter) -> None:
        raise ZeroDivisionError("one by nought")


def test_it_makes_what_the_run_with_records_makes() -> None:
    stepwise, _ = run_pipeline(ir.from_proto(MODEL))
    made = optimize(MODEL)

    assert [node.op_type for node in made.graph.node] == [node.op_type for node in stepwise.graph] == ["Relu", "MatMul"]


@pytest.mark.parametrize("culprit", [BreakTheGraph(), RenameTheOutput(), Raise()], ids=lambda pass_: pass_.name)
def test_what_goes_wrong_is_seen_and_the_pass_named(culprit: Pass) -> None:
    before = MODEL.SerializeToString()

    assert run_in_place(ir.from_proto(MODEL), (*PASSES[:5], culprit), "portable") is None
    with pytest.raises(PassFailedError, match=f"^{culprit.name}: "):
        optimize(MODEL, passes=[*PASSES[:5], culprit])
    assert MODEL.SerializeToString() == before


def test_the_models_given_stay_as_they_are(tmp_path) -> None:
    model, path = ir.from_proto(MODEL), tmp_path / "m.onnx"
    onnx.save(MODEL, path)
    before = path.read_bytes()

    assert len(optimize(model).graph) == 2
    assert len(model.graph) == 4
    assert len(onnx.load(optimize(path)).graph.node) == 2
    assert path.read_bytes() == before


def test_passes_that_found_nothing_in_the_graph_as_it_is_are_not_run_again() -> None:
    asked: list[str] = []

    @dataclass(frozen=True)
    class Ask(Pass):
        name: ClassVar[str] = "ask"
        number: int = 0
        edits: bool = False

        def rewrite(self, rewriter: Rewriter) -> None:
            asked.append(str(self.number))
            if self.edits and asked.count(str(self.number)) == 1:
                rewriter.edited()

    rules = (Ask(number=1), Ask(number=2, edits=True), Ask(number=3))
    assert run_in_place(ir.from_proto(MODEL), (*rules, Settle(passes=rules)), "portable") is not None
    assert asked == ["1", "2", "3", "1", "2"]
