"""The whole pipeline finds nothing to do in its own result, and the larger rewrites leave nothing half done behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings

from pytest_modelcheck.passes.eliminate_redundant_transposes import EliminateRedundantTransposes
from pytest_modelcheck.passes.fold_constants import FoldConstants
from pytest_modelcheck.passes.fold_growth import SPENT_KEY
from pytest_modelcheck.passes.fuse_matmul_add import FuseMatmulAdd
from pytest_modelcheck.pipeline import run_pass, run_pipeline
from tests.passes.fusing_checks import fires, make
from tests.passes.random_graphs import models

RANDOM = settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def changed_in_a_second_run(model: ir.Model, **options: Any) -> list[str]:
    once, _ = run_pipeline(model, **options)
    return [record.name for record in run_pipeline(once, **options)[1] if record.changed]


@RANDOM
@given(model=models(max_steps=10))
def test_a_second_run_over_a_random_graph_only_cleans_what_a_pass_before_could_not_know(model: Any) -> None:
    once, _ = run_pipeline(ir.from_proto(model))
    twice, records = run_pipeline(once)
    assert not [record.error for record in records if record.error]
    thrice, _ = run_pipeline(twice)
    assert len(thrice.graph) == len(twice.graph) <= len(once.graph)


TWO_LAYERS = """<ir_version: 10, opset_import: ["" : 20]> g (float[2,3,4] x) => (float[2,3,4] y) {
    a = MatMul (x, w) b = Add (a, c) d = Relu (b)
    e = MatMul (d, w) f = Add (e, c) h = Add (f, k)
    i = MatMul (h, w) j = Add (i, c) y = Add (j, k)
}"""
LAYER_WEIGHTS = {
    "w": np.eye(4, dtype=np.float32) / 2,
    "c": np.ones(4, np.float32),
    "k": np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4),
}


def test_a_view_of_a_constant_is_a_constant() -> None:
    counts = fires(FuseMatmulAdd(), make(TWO_LAYERS, **LAYER_WEIGHTS))

    assert counts["Gemm"] == 3
    assert counts["Reshape"] == 2  # into the flattened view and out of it; k is flattened itself


@pytest.mark.parametrize("target", ["portable", "opset23", "onnxruntime"])
def test_a_layer_with_a_constant_residual_is_a_fixed_point(target: Any) -> None:
    assert changed_in_a_second_run(ir.from_proto(make(TWO_LAYERS, **LAYER_WEIGHTS)), target=target) == []


def test_products_of_one_window_share_its_view() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]> g (float[4,6,4] x) => (float[8,3,2,2] p, float[8,3,2,2] q) {
        view = Reshape (x, windows)
        a = MatMul (view, w) b = Add (a, c) p = Reshape (b, heads)
        d = MatMul (view, w) e = Add (d, k) q = Reshape (e, heads)
    }"""
    weights = {
        "w": LAYER_WEIGHTS["w"],
        "c": LAYER_WEIGHTS["c"],
        "k": np.zeros(4, np.float32),
        "windows": np.array([8, 3, 4]),
        "heads": np.array([8, 3, 2, 2]),
    }
    counts = fires(FuseMatmulAdd(), make(text, **weights))

    assert counts == {"Gemm": 2, "Reshape": 3}


def test_an_operand_that_a_constant_node_makes_is_no_reshape() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]> g (float[2,3,4] x) => (float[2,3,4] y) {
        k = Constant <value = float[2,3,4] {1,2,3,4,5,6,7,8,9,0,1,2,1,2,3,4,5,6,7,8,9,0,1,2}> ()
        a = MatMul (x, w) b = Add (a, c) d = Add (b, k) e = MatMul (d, w) y = Add (e, c)
    }"""
    _, record = run_pass(ir.from_proto(make(text, w=LAYER_WEIGHTS["w"], c=LAYER_WEIGHTS["c"])), FuseMatmulAdd())

    assert record.error is None


def test_what_folding_has_added_to_the_file_is_not_allowed_a_second_time() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]> g (float[n] x) => (float[a,b] y, float[c,b] z) {
        s = Expand (one, first) t = Expand (one, second) y = Add (s, x) z = Add (t, x)
    }"""
    shapes = {"first": np.array([9, 10]), "second": np.array([11, 10])}
    model = ir.from_proto(make(text, one=np.ones(1, np.float32), **shapes))
    only_one = FoldConstants(max_growth_bytes=400)
    once, record = run_pass(model, only_one)
    assert (record.delta, record.refusals[0].reason) == (-1, "folding would exceed the size budget")
    assert int(once.metadata_props[SPENT_KEY]) > 0
    assert not run_pass(once, only_one)[1].changed


def test_a_pass_gives_the_same_whatever_edits_led_to_the_graph() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]> g (float[2,3,4] x) => (float[2,4,3] p, float[2,4,3] q) {
        t = Transpose <perm = [0, 2, 1]> (x) a = Relu (t) b = Neg (t) p = Exp (a) q = Exp (b)
    }"""
    made = []
    for reorder in (False, True):
        model = ir.from_proto(make(text))
        if reorder:
            _, relu, *_ = model.graph
            source = relu.inputs[0]
            relu.replace_input_with(0, None)
            relu.replace_input_with(0, source)
        EliminateRedundantTransposes()(model)
        made.append(ir.to_proto(model).SerializeToString(deterministic=True))
    assert made[0] == made[1]
