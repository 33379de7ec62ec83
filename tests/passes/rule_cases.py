"""What a rule of a pass has to bring: a case in which it fires, and one that looks right and is refused with a reason.

Each file of tests has its `CASES`; `test_every_rule.py` runs them all, the first kind inside If, Loop and Scan too, and
fails where a rule of any pass has none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from pytest_modelcheck.passes import Pass, PassOutcome, Target
from pytest_modelcheck.pipeline import PassStatus, prepare, run_pass
from tests.passes.fusing_checks import around, body_of, in_subgraph, worst_difference


@dataclass(frozen=True, kw_only=True)
class RuleCase:
    """One rule of one pass; a rule may have several of these.

    Attributes:
        rule: One of ``pass_.rules``, or the name of the pass where it has one rule.
        fires: A model that the rule rewrites. Its inputs and weights are captured where it stands in a subgraph.
        refused: One that the rule has to leave as it is, although it looks right; None only for `NEVER_REFUSED`.
        reason: Why.
        counts: Operators that `fires` has after the pass.
        target: Of `fires`.
        refused_target: Of `refused`; the same where it is None.
        variant: What tells two cases of one rule apart.
        nested: What `fires` needs besides, once it stands in a subgraph.
        size: What a symbolic dimension is when the model is run.
    """

    pass_: Pass
    rule: str
    fires: onnx.ModelProto
    refused: onnx.ModelProto | None
    reason: str
    counts: dict[str, int] | None = None
    target: Target = "portable"
    refused_target: Target | None = None
    variant: str = ""
    nested: Callable[[onnx.ModelProto], onnx.ModelProto] | None = None
    size: int = 3

    @property
    def name(self) -> str:
        return " ".join(filter(None, (self.pass_.name, self.rule, self.variant)))


NEVER_REFUSED = frozenset(
    {
        ("eliminate_dead_nodes", "node"),  # operators have no side effects: it is always right
        ("eliminate_dead_nodes", "function"),
        ("simplify_shape_chains", "earlier"),  # a Shape of another shape is no look-alike
        ("simplify_shape_chains", "fold"),  # what is left alone there is fold_constants' refusal
        ("fuse_matmul_add", "tidy"),  # as are these: the passes before them have said why
        ("cleanup_attention", "tidy"),
        ("settle", "settle"),
    }
)
"""Rules whose look-alikes are left alone without a reason."""


def rules_of(pass_: Pass) -> tuple[str, ...]:
    """The names of the rules of a pass."""
    return pass_.rules or (pass_.name,)


def missing(passes: Iterable[Pass], cases: Iterable[RuleCase]) -> list[str]:
    """Every rule without a case in which it fires, or without one in which it is refused."""
    cases = list(cases)
    fire = {(case.pass_.name, case.rule) for case in cases}
    refuse = {(case.pass_.name, case.rule) for case in cases if case.refused is not None and case.reason}
    wanted = [(pass_.name, rule) for pass_ in passes for rule in rules_of(pass_)]
    lines = [f"{name}: no case fires rule {rule!r}" for name, rule in wanted if (name, rule) not in fire]
    unrefused = [key for key in wanted if key not in refuse and key not in NEVER_REFUSED]
    return lines + [f"{name}: no case is refused by rule {rule!r} with its reason" for name, rule in unrefused]


def outcome(pass_: Pass, model: onnx.ModelProto, target: Target) -> PassOutcome:
    """What the pass says of itself: the rule of every rewrite that it makes, and its refusals."""
    made = dataclasses.replace(pass_, target=target)(prepare(ir.from_proto(model)))
    assert isinstance(made, PassOutcome)
    return made


def fires_inside(case: RuleCase, model: onnx.ModelProto) -> None:
    """The rule rewrites `model`, whose result stays valid and the same in onnxruntime."""
    assert case.rule in outcome(case.pass_, model, case.target).rules
    after, record = run_pass(ir.from_proto(model), case.pass_, case.target)
    assert record.status is PassStatus.FIRED, (record.status, record.error)
    assert worst_difference(model, ir.to_proto(after), size=case.size) <= 1e-5


def in_loop(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph as the body of a Loop of two rounds; it captures inputs and weights, its outputs are stacked."""
    index = helper.make_tensor_value_info("index", onnx.TensorProto.INT64, [])
    go_on, still = (helper.make_tensor_value_info(name, onnx.TensorProto.BOOL, []) for name in ("go_on", "still"))
    body = body_of(model.graph, "body", [index, go_on], [still], [helper.make_node("Cast", ["go_on"], ["still"], to=9)])
    rounds = onnx.numpy_helper.from_array(np.array(2), "rounds")
    loop = helper.make_node("Loop", ["rounds", ""], _names(model), body=body)
    outer = helper.make_graph([loop], "outer", model.graph.input, _stacked(model), [*model.graph.initializer, rounds])
    return around(model, outer)


def in_scan(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph as the body of a Scan over a vector; it captures inputs and weights, its outputs are stacked."""
    body = body_of(model.graph, "body", [helper.make_tensor_value_info("tick", onnx.TensorProto.FLOAT, [])])
    ticks = helper.make_tensor_value_info("ticks", onnx.TensorProto.FLOAT, [2])
    scan = helper.make_node("Scan", ["ticks"], _names(model), body=body, num_scan_inputs=1)
    outer = helper.make_graph([scan], "outer", [*model.graph.input, ticks], _stacked(model), model.graph.initializer)
    return around(model, outer)


PLACES = {"If": in_subgraph, "Loop": in_loop, "Scan": in_scan}


def _names(model: onnx.ModelProto) -> list[str]:
    return [output.name for output in model.graph.output]


def _stacked(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The outputs of `model` with one more axis in front."""
    types = [(output.name, output.type.tensor_type) for output in model.graph.output]
    return [
        helper.make_tensor_value_info(name, type_.elem_type, [None] * (1 + len(type_.shape.dim)))
        for name, type_ in types
    ]
