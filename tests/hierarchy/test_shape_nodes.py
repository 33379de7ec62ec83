"""Compute, shape plumbing, constants: both sides of the rule."""

import onnx_ir as ir
import pytest

from pytest_modelcheck.hierarchy.shape_nodes import node_roles


def roles(body: str, outputs: str = "float[N] y") -> dict[str, list[str]]:
    text = f'<ir_version: 10, opset_import: ["" : 18]>\ng (float[a,b] x, float[a,b] z) => ({outputs}) {{\n{body}\n}}'
    found = node_roles(ir.from_onnx_text(text))
    return {name: [node.op_type for node in getattr(found, name)] for name in ("compute", "plumbing", "constants")}


def test_a_shape_chain_into_a_reshape_is_plumbing_and_the_reshape_is_compute() -> None:
    found = roles(
        """
        i = Constant <value: tensor = int64[1] {0}> ()
        s = Shape (x)
        g = Gather (s, i)
        n = Mul (g, g)
        y = Reshape (x, n)
        """
    )
    assert found == {"compute": ["Reshape"], "plumbing": ["Shape", "Gather", "Mul"], "constants": ["Constant"]}


def test_a_node_that_feeds_a_shape_and_data_is_compute() -> None:
    found = roles("s = Shape (x)\nn = Mul (s, s)\nr = Reshape (x, n)\nf = Cast <to = 1> (n)\ny = Add (r, f)")
    assert found["compute"] == ["Mul", "Reshape", "Cast", "Add"]
    assert found["plumbing"] == ["Shape"]


def test_the_data_operand_of_a_reshape_is_compute() -> None:
    assert roles("s = Shape (x)\nr = Relu (x)\ny = Reshape (r, s)")["compute"] == ["Relu", "Reshape"]


@pytest.mark.parametrize("op", ["Shape", "Size"])
def test_a_shape_that_the_model_returns_is_compute(op: str) -> None:
    assert roles(f"y = {op} (x)", "int64[N] y")["compute"] == [op]


def test_a_node_that_nothing_reads_is_compute() -> None:
    assert roles("s = Shape (x)\ndead = Mul (s, s)\ny = Relu (x)")["compute"] == ["Mul", "Relu"]


def test_slice_bounds_are_plumbing_and_the_sliced_data_is_not() -> None:
    found = roles("s = Shape (x)\nb = Add (s, s)\nr = Relu (x)\ny = Slice (r, b, s)")
    assert found["plumbing"] == ["Shape", "Add"]
    assert found["compute"] == ["Relu", "Slice"]


def test_an_operator_of_another_domain_has_no_shape_operands() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18, "custom" : 1]>
    g (float[a,b] x) => (float[N] y) {
        s = Shape (x)
        n = Mul (s, s)
        y = custom.Reshape (x, n)
    }"""
    found = node_roles(ir.from_onnx_text(text))
    assert [node.op_type for node in found.compute] == ["Mul", "Reshape"]


def test_nodes_of_a_subgraph_have_roles_too() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (bool c, float[a,b] x) => (float[N] y) {
        y = If (c) <
            then_branch = t () => (float[N] u) { s = Shape (x)  n = Mul (s, s)  u = Reshape (x, n) },
            else_branch = e () => (float[N] v) { v = Relu (x) }
        >
    }"""
    found = node_roles(ir.from_onnx_text(text))
    assert sorted(node.op_type for node in found.compute) == ["If", "Relu", "Reshape"]
    assert sorted(node.op_type for node in found.plumbing) == ["Mul", "Shape"]


def test_every_node_has_exactly_one_role() -> None:
    found = roles("s = Shape (x)\nn = Mul (s, s)\nr = Reshape (x, n)\ny = Relu (r)")
    assert sum(len(names) for names in found.values()) == 4
