"""A message is read and stays as it is; what cannot be read is refused by name."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, parser

from pytest_modelcheck.errors import InvalidModelError
from pytest_modelcheck.graph import from_proto
from pytest_modelcheck.graph.files import load_model
from pytest_modelcheck.graph.from_proto import model_from_proto
from pytest_modelcheck.pipeline import optimize

CONSTANTS = """<ir_version: 10, opset_import: ["" : 17]> g (float[2,3,4,4] x) => (float[2,3,4,4] y) {
    s = Constant <value = float[3] {1.0, 2.0, 3.0}> () b = Constant <value = float[3] {0.0, 1.0, 0.0}> ()
    m = Constant <value = float[3] {0.5, 0.5, 0.5}> () v = Constant <value = float[3] {1.0, 1.0, 2.0}> ()
    c = Conv (x, w) y = BatchNormalization (c, s, b, m, v)
}"""


def test_the_message_of_the_caller_is_not_written_to() -> None:
    model = parser.parse_model(CONSTANTS)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w"))
    before = model.SerializeToString(deterministic=True)
    optimize(model)
    assert model.SerializeToString(deterministic=True) == before


def test_a_weight_is_shared_and_renamed_on_its_own() -> None:
    message = parser.parse_model('<ir_version: 10, opset_import: ["" : 17]> g () => (float[2] y) { y = Neg (w) }')
    message.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(2, np.float32), "w"))
    model = model_from_proto(message)
    value = model.graph.initializers["w"]
    value.name = "v"
    assert (message.graph.initializer[0].name, value.const_value.name) == ("w", "v")
    np.testing.assert_array_equal(value.const_value.numpy(), np.ones(2, np.float32))


def sparse() -> onnx.SparseTensorProto:
    values = helper.make_tensor("sp", TensorProto.FLOAT, [2], [1.5, 2.5])
    return helper.make_sparse_tensor(values, helper.make_tensor("at", TensorProto.INT64, [2], [1, 3]), [4])


def model_of(*nodes: onnx.NodeProto, outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [4])], outputs)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


def unreadable() -> dict[str, onnx.ModelProto]:
    plain = [helper.make_tensor_value_info("y", 1, [4])]
    initializer = model_of(helper.make_node("Add", ["x", "sp"], ["y"]), outputs=plain)
    initializer.graph.sparse_initializer.append(sparse())
    constant = helper.make_node("Constant", [], ["c"], sparse_value=sparse())
    add = helper.make_node("Add", ["x", "c"], ["y"])
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, [])))
    zipped = helper.make_node("ZipMap", ["x"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2, 3])
    in_node = model_of(constant, add, outputs=plain)
    return {
        "initializer 'sp' is sparse; write it as a dense tensor": initializer,
        "attribute 'sparse_value' of node 'c' is sparse; write it as a dense tensor": in_node,
        "value 'z' is a map; take the tensors before it (of a ZipMap: its input) as outputs": model_of(
            zipped, outputs=[helper.make_value_info("z", maps)]
        ),
    }


@pytest.mark.parametrize("reason", unreadable())
def test_what_cannot_be_read_is_named_with_a_way_out(reason, tmp_path) -> None:
    model = unreadable()[reason]
    with pytest.raises(InvalidModelError) as caught:
        optimize(model)
    assert str(caught.value) == f"model cannot be read: {reason}"
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    with pytest.raises(InvalidModelError) as caught:
        load_model(path)
    assert str(caught.value) == f"{path} cannot be read: {reason}"


def test_inputs_and_outputs_without_a_shape_are_carried_through() -> None:
    text = '<ir_version: 10, opset_import: ["" : 17]> g (float[2] x) => (float[2] y) { a = Identity (x) y = Relu (a) }'
    model = parser.parse_model(text)
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.ClearField("shape")
    after = optimize(model)

    assert [node.op_type for node in after.graph.node] == ["Relu"]
    assert not after.graph.input[0].type.tensor_type.HasField("shape")
    assert not after.graph.output[0].type.tensor_type.HasField("shape")


@pytest.mark.parametrize("where", ["graph", "subgraph", "function"])
@pytest.mark.parametrize(("most", "fine"), [(4, True), (3, False)])
def test_a_graph_of_more_nodes_than_memory_is_for_is_refused(monkeypatch, where, most, fine) -> None:
    monkeypatch.setattr(from_proto, "MOST_NODES", most)
    text = {
        "graph": "g (float[2] x) => (float[2] y) { a = Relu(x) b = Relu(a) c = Relu(b) y = Relu(c) }",
        "subgraph": """g (float[2] x, bool c) => (float[2] y) {
            y = If(c) <then_branch = t () => (float[2] p) { q = Relu(x) p = Relu(q) },
            else_branch = e () => (float[2] r) { r = Relu(x) }>
        }""",
        "function": """g (float[2] x) => (float[2] y) { a = Relu(x) y = mine.Twice(a) }
            <domain: "mine", opset_import: ["" : 17]> Twice (p) => (q) { s = Relu(p) q = Relu(s) }""",
    }[where]
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["" : 17, "mine" : 1]> {text}')
    if fine:
        model_from_proto(model)
        return
    with pytest.raises(InvalidModelError, match=r"^model cannot be read: it has 4 nodes, and at most 3 are read$"):
        model_from_proto(model)


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("producer_name", "its producer_name is not UTF-8"),
        ("producer_version", "its producer_version is not UTF-8"),
        ("domain", "its domain is not UTF-8"),
        ("doc_string", "its doc_string is not UTF-8"),
        ("model", r"metadata b'\xff\xfe' is not UTF-8"),
        ("graph", r"metadata b'\xff\xfe' is not UTF-8"),
        ("node", r"metadata b'\xff\xfe' is not UTF-8"),
        ("input", r"metadata b'\xff\xfe' is not UTF-8"),
        ("function", r"metadata b'\xff\xfe' is not UTF-8"),
        ("subgraph", r"metadata b'\xff\xfe' is not UTF-8"),
    ],
)
def test_a_text_that_is_not_utf8_is_named_wherever_it_lies(place, reason, tmp_path) -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 17, "mine" : 1]>
        g (float[2] x, bool c) => (float[2] y) {
            a = mine.F(x)
            y = If(c) <then_branch = t () => (float[2] p) { p = Relu(a) },
                else_branch = e () => (float[2] r) { r = Neg(a) }>
        }
        <domain: "mine", opset_import: ["" : 17]> F (p) => (q) { q = Relu(p) }""")
    holders = {
        "model": model,
        "graph": model.graph,
        "node": model.graph.node[0],
        "input": model.graph.input[0],
        "function": model.functions[0].node[0],
        "subgraph": model.graph.node[1].attribute[0].g.node[0],
    }
    if place in holders:
        holders[place].metadata_props.add(key="ZZ", value="a")
    else:
        setattr(model, place, "ZZ")
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString().replace(b"ZZ", b"\xff\xfe"))
    with pytest.raises(InvalidModelError) as caught:
        load_model(path)
    assert str(caught.value) == f"{path} cannot be read: {reason}"
