"""Files whose nodes are not sorted: onnxruntime runs them, and so are they read."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from pytest_modelcheck.errors import InvalidModelError
from pytest_modelcheck.graph.files import load_model
from pytest_modelcheck.pipeline import optimize
from tests.passes.fusing_checks import in_function, in_subgraph, make, worst_difference

SORTED = make(
    '<ir_version: 8, opset_import: ["" : 17]> g (float[N,4] x) => (float[N,4] y) '
    "{ a = Exp (x) b = Mul (a, w) c = Identity (b) y = Neg (c) }",
    w=np.full(4, 3, np.float32),
)


def reversed_nodes(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with the nodes of every graph and function the other way round."""
    turned = onnx.ModelProto()
    turned.CopyFrom(model)
    pending = [turned.graph, *turned.functions]
    while pending:
        graph = pending.pop()
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in reversed(graph.node)]
        del graph.node[:]
        graph.node.extend(nodes)
        pending += [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return turned


@pytest.mark.parametrize("place", [lambda model: model, in_subgraph, in_function])
def test_nodes_in_any_order_are_optimized_like_sorted_ones(place, tmp_path: Path) -> None:
    turned = reversed_nodes(place(SORTED))
    onnx.save(turned, tmp_path / "turned.onnx")
    with pytest.raises(onnx.checker.ValidationError, match="topologically sorted"):
        onnx.checker.check_model(turned)

    expected = [node.op_type for node in optimize(place(SORTED)).graph.node]
    assert [node.op_type for node in optimize(turned).graph.node] == expected
    assert len(load_model(optimize(tmp_path / "turned.onnx")).graph) == len(expected)
    assert worst_difference(place(SORTED), optimize(turned)) <= 1e-6


def test_a_cycle_is_no_order(tmp_path: Path) -> None:
    cyclic = onnx.ModelProto()
    cyclic.CopyFrom(SORTED)
    cyclic.graph.node[0].input[0] = "c"
    onnx.save(cyclic, tmp_path / "cyclic.onnx")
    with pytest.raises(InvalidModelError, match=r"does not pass onnx\.checker"):
        load_model(tmp_path / "cyclic.onnx")
