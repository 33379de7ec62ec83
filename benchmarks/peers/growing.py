"""Processor seconds of our pipeline over the number of nodes: a block of work, repeated up to 100,000 nodes."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.peers.measuring import worker
from benchmarks.peers.worker import OURS

SIZES = (1_000, 10_000, 100_000)


def growth() -> dict[str, Any]:
    """{"seconds": {nodes: seconds}, "nodes": {before: after}, "exponent": slope of log seconds over log nodes}."""
    seconds: dict[str, float] = {}
    after: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="modelcheck-growth-") as folder:
        for size in SIZES:
            path = Path(folder) / f"{size}.onnx"
            onnx.save(chain(size), path)
            result = worker(["optimize", OURS, str(path), str(path.with_suffix(".out.onnx"))], 1800)
            if "error" in result:
                return {"error": f"{size} nodes: {result['error']}"}
            seconds[str(size)], after[str(size)] = result["cpu_seconds"], result["nodes"]
    exponent = float(np.polyfit([math.log(s) for s in SIZES], [math.log(s) for s in seconds.values()], 1)[0])
    return {"seconds": seconds, "nodes": after, "exponent": exponent}


def chain(nodes: int) -> onnx.ModelProto:
    """Repeated: a projection with a bias, heads split and merged by Reshape and Transpose, a gate, a residual.

    Every block has its own weights, an Identity, a pair of Transposes that cancel, and a dynamic Reshape target.
    """
    made: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    generator = np.random.default_rng(0)
    flow, block = "x", 0

    def add(op: str, *inputs: str, **attributes: Any) -> str:
        made.append(helper.make_node(op, inputs, [f"{op}_{len(made)}"], **attributes))
        return str(made[-1].output[0])

    def weight(name: str, array: Any) -> str:
        weights.append(numpy_helper.from_array(np.asarray(array), f"{name}_{block}"))
        return f"{name}_{block}"

    while len(made) < nodes:
        start = flow
        w, b = generator.normal(size=(8, 8)), generator.normal(size=8)
        flow = add("MatMul", flow, weight("w", w.astype(np.float32)))
        flow = add("Add", weight("b", b.astype(np.float32)), flow)
        batch = add("Gather", add("Shape", flow), weight("zero", np.int64(0)), axis=0)
        batch = add("Unsqueeze", batch, weight("axis", np.array([0], np.int64)))
        target = add("Concat", batch, weight("heads", np.array([-1, 2, 4], np.int64)), axis=0)
        flow = add("Reshape", flow, target)
        flow = add("Transpose", flow, perm=[0, 2, 1, 3])
        flow = add("Identity", flow)
        flow = add("Transpose", flow, perm=[0, 2, 1, 3])
        flow = add("Reshape", flow, weight("merged", np.array([0, 0, 8], np.int64)))
        flow = add("Mul", flow, add("Sigmoid", flow))
        flow = add("Add", flow, start)
        block += 1
    shape: list[str | int | None] = ["batch", "sequence", 8]
    output = helper.make_tensor_value_info(flow, TensorProto.FLOAT, shape)
    graph = helper.make_graph(
        made, "chain", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)], [output], weights
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
