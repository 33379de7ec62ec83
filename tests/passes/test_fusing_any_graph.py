"""Property: on random graphs of activations every fusing pass keeps results and validity, and is idempotent."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from pytest_modelcheck.passes import PASSES
from pytest_modelcheck.passes.cleanup_attention import CleanupAttention
from pytest_modelcheck.passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from pytest_modelcheck.passes.fuse_layernorm import FuseLayernorm
from pytest_modelcheck.passes.fuse_matmul_add import FuseMatmulAdd
from pytest_modelcheck.pipeline import PassStatus, run_pass, run_pipeline
from tests.passes.fusing_checks import worst_difference

WIDTH, HEADS = 4, 2


class Builder:
    """Draws a graph of activations (batch, sequence, 4) with everything that the flattened view meets at its border."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.symbolic = self.draw.random() < 0.5
        self.lead: list[Any] = ["batch", "seq"] if self.symbolic else [3, 3]
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.full: list[str] = ["x", "x2"]

    def name(self) -> str:
        return f"v{len(self.nodes)}"

    def weight(self, *shape: int) -> str:
        array = (self.numbers.normal(size=shape) / 2).astype(np.float32)
        self.weights.append(onnx.numpy_helper.from_array(array, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def ints(self, *numbers: int) -> str:
        self.weights.append(onnx.numpy_helper.from_array(np.array(numbers, np.int64), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = self.name()
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"n{name}", **attributes))
        return name

    def pick(self) -> str:
        return self.draw.choice(self.full[-5:])

    def linear(self, value: str) -> str:
        product = self.node("MatMul", value, self.weight(WIDTH, WIDTH))
        if self.draw.random() < 0.2:
            return product
        other = self.pick() if self.draw.random() < 0.2 else self.weight(WIDTH)
        operands = [product, other]
        self.draw.shuffle(operands)
        return self.node("Add", *operands)

    def attention(self, value: str) -> str:
        source = self.pick() if self.draw.random() < 0.3 else value
        perms = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        parts = []
        for of, perm in zip((value, source, source), perms, strict=True):
            split = self.node("Reshape", self.linear(of), self.ints(0, 0, HEADS, WIDTH // HEADS))
            parts.append(self.node("Transpose", split, perm=perm))
        scores = self.node("MatMul", parts[0], parts[1])
        if self.draw.random() < 0.7:
            self.weights.append(onnx.numpy_helper.from_array(np.float32(0.7), f"w{len(self.weights)}"))
            scores = self.node(self.draw.choice(["Mul", "Div"]), scores, self.weights[-1].name)
        context = self.node("MatMul", self.node("Softmax", scores, axis=-1), parts[2])
        moved = self.node("Transpose", context, perm=[0, 2, 1, 3])
        return self.node("Reshape", moved, self.ints(0, 0, WIDTH))

    def step(self) -> None:
        value = self.pick()
        others = ["attention", "unary", "add", "norm", "mean", "softmax", "seq", "reshape"]
        kind = self.draw.choice(["linear"] * 4 + others)
        made = {
            "linear": lambda: self.linear(value),
            "attention": lambda: self.attention(value),
            "unary": lambda: self.node(self.draw.choice(["Tanh", "Sigmoid", "Relu", "Neg"]), value),
            "add": lambda: self.node(self.draw.choice(["Add", "Mul", "Sub"]), value, self.pick()),
            "norm": lambda: self.node(
                "LayerNormalization", value, self.weight(WIDTH), self.weight(WIDTH), axis=self.draw.choice([-1, 2])
            ),
            "mean": lambda: self.node("Sub", value, self.node("ReduceMean", value, self.ints(2))),
            "softmax": lambda: self.node("Softmax", value, axis=self.draw.choice([-1, 1, 2])),
            "seq": lambda: self.node("Sub", value, self.node("ReduceMean", value, self.ints(1))),
            "reshape": lambda: self.node(
                "Reshape", self.node("Tanh", self.node("Reshape", value, self.ints(0, 0, 2, 2))), self.ints(0, 0, WIDTH)
            ),
        }[kind]()
        self.full.append(made)

    def model(self) -> onnx.ModelProto:
        for _ in range(self.draw.randint(3, 14)):
            self.step()
        outputs = list(dict.fromkeys([self.full[-1], *(v for v in self.full[2:] if self.draw.random() < 0.1)]))
        shape = [*self.lead, WIDTH]
        graph = helper.make_graph(
            self.nodes,
            "drawn",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "x2")],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs],
            self.weights,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        onnx.checker.check_model(made, full_check=True)
        return made


@pytest.mark.parametrize("seed", range(25))
def test_each_pass_keeps_the_results_of_any_graph(seed: int) -> None:
    model = Builder(seed).model()
    for pass_ in (FuseMatmulAdd(), CleanupAttention(), FuseLayernorm(), EliminateCommonSubexpressions()):
        after, record = run_pass(ir.from_proto(model), pass_)
        assert record.status is not PassStatus.ERROR, record.error
        if record.changed:
            assert record.delta <= 0, (pass_.name, record.ops_delta)
            assert worst_difference(model, ir.to_proto(after)) <= 1e-5
            assert not run_pass(after, pass_)[1].changed, f"{pass_.name} is not idempotent"


@pytest.mark.parametrize("limit", [0, 1, 2])
@pytest.mark.parametrize("seed", range(6))
def test_a_pass_that_stops_early_keeps_the_results_too(seed: int, limit: int) -> None:
    model = Builder(seed).model()
    for pass_ in (FuseMatmulAdd(max_rewrites=limit), CleanupAttention(max_rewrites=limit)):
        after, record = run_pass(ir.from_proto(model), pass_)
        assert record.status is not PassStatus.ERROR, record.error
        assert not (record.changed and limit == 0)
        assert worst_difference(model, ir.to_proto(after)) <= 1e-5


@pytest.mark.parametrize("seed", range(1000, 1012))
def test_the_whole_pipeline_keeps_the_results_of_any_graph(seed: int) -> None:
    model = Builder(seed).model()
    after, records = run_pipeline(ir.from_proto(model), PASSES)

    assert not [record.error for record in records if record.error]
    assert worst_difference(model, ir.to_proto(after)) <= 1e-5
