"""Cases that are .onnx files: right results for odd but valid ones, clear failures for broken ones."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_modelcheck import ModelCase
from pytest_modelcheck.export import Exported, ExportFailure, FailureKind, export
from pytest_modelcheck.store import Store

FLOAT = TensorProto.FLOAT


def value(name, shape=(2,), kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes, inputs=(("x", (2,)),), outputs=(("y", (2,)),), initializers=(), **options):
    graph = helper.make_graph(
        nodes, "g", [value(*item) for item in inputs], [value(*item) for item in outputs], list(initializers)
    )
    options.setdefault("opset_imports", [helper.make_opsetid("", 17)])
    return helper.make_model(graph, ir_version=10, **options)


RELU = helper.make_node("Relu", ["x"], ["y"], name="relu")


def opened(path) -> Exported:
    result = export(ModelCase.from_onnx(path))
    assert isinstance(result, Exported), result
    return result


def refused(path) -> ExportFailure:
    result = export(ModelCase.from_onnx(path))
    assert isinstance(result, ExportFailure)
    assert result.kind is FailureKind.INVALID_MODEL
    assert result.exporter == "onnx"
    assert str(path) in result.reason
    return result


def test_a_valid_file_is_wrapped_where_it_lies(tmp_path):
    path = tmp_path / "relu.onnx"
    onnx.save(model_of([RELU]), path)
    result = opened(path)
    assert (result.path, result.exporter, result.case.name) == (path, "onnx", "relu")
    assert [node.name for node in result.model.graph] == ["relu"]


def test_the_key_of_a_file_follows_its_content(tmp_path):
    path = tmp_path / "relu.onnx"
    onnx.save(model_of([RELU]), path)
    first = opened(path).key
    assert opened(path).key.digest == first.digest
    onnx.save(model_of([helper.make_node("Abs", ["x"], ["y"])]), path)
    assert opened(path).key.digest != first.digest


def test_a_file_is_read_from_its_place_also_where_there_is_a_cache(tmp_path):
    path = tmp_path / "relu.onnx"
    onnx.save(model_of([RELU]), path)
    result = export(ModelCase.from_onnx(path), cache=Store(tmp_path / "cache"))
    assert isinstance(result, Exported)
    assert result.path == path
    assert not (tmp_path / "cache").exists()


def test_subgraphs_functions_and_custom_domains_are_fine(tmp_path):
    branches = {
        name: helper.make_graph([helper.make_node(op, ["x"], [name])], name, [], [value(name)])
        for name, op in (("then", "Relu"), ("else", "Abs"))
    }
    nodes = [
        helper.make_node("If", ["c"], ["a"], then_branch=branches["then"], else_branch=branches["else"]),
        helper.make_node("Double", ["a"], ["b"], domain="local"),
        helper.make_node("Mystery", ["b"], ["y"], domain="com.example"),
    ]
    function = helper.make_function(
        "local", "Double", ["p"], ["q"], [helper.make_node("Add", ["p", "p"], ["q"])], [helper.make_opsetid("", 17)]
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in (("", 17), ("local", 1), ("com.example", 1))]
    model = model_of(nodes, [("x", (2,)), ("c", (), TensorProto.BOOL)], functions=[function], opset_imports=opsets)
    onnx.save(model, tmp_path / "odd.onnx")
    assert [node.op_type for node in opened(tmp_path / "odd.onnx").model.graph] == ["If", "Double", "Mystery"]


def test_a_missing_file_is_named(tmp_path):
    assert "no such file" in refused(tmp_path / "missing.onnx").reason


def test_a_folder_is_no_model(tmp_path):
    assert refused(tmp_path).next


@pytest.mark.parametrize("content", [b"", b"not protobuf at all", b"\x08\x0a\xff\xff\xff", b"{}"])
def test_a_file_that_does_not_parse_is_named(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    assert refused(path).next == "give the path of a valid .onnx file, with its external data in the same folder"


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "short.onnx"
    data = model_of([RELU]).SerializeToString()
    path.write_bytes(data[: len(data) // 2])
    refused(path)


def test_a_graph_without_nodes_is_named(tmp_path):
    path = tmp_path / "empty.onnx"
    onnx.save(model_of([], outputs=[("x", (2,))]), path)
    assert "no node" in refused(path).reason


def test_a_graph_that_the_checker_refuses_is_named(tmp_path):
    path = tmp_path / "dangling.onnx"
    path.write_bytes(model_of([helper.make_node("Relu", ["nowhere"], ["y"])]).SerializeToString())
    refused(path)


def test_a_name_given_twice_is_named(tmp_path):
    path = tmp_path / "twice.onnx"
    twice = [RELU, helper.make_node("Abs", ["x"], ["y"]), helper.make_node("Neg", ["y"], ["x"])]
    path.write_bytes(model_of(twice).SerializeToString())
    assert "redeclared" in refused(path).reason


def external(tmp_path, location):
    """An Add of an initializer whose data lies in `location`."""
    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    onnx.external_data_helper.set_external_data(weight, location)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    path = tmp_path / "model" / "external.onnx"
    path.parent.mkdir()
    model = model_of([helper.make_node("Add", ["x", "w"], ["y"])], initializers=[weight])
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data_in_the_same_folder_is_read_and_counts_in_the_key(tmp_path):
    path = external(tmp_path, "weights.bin")
    (path.parent / "weights.bin").write_bytes(np.array([3, 4], np.float32).tobytes())
    result = opened(path)
    assert list(result.model.graph.initializers["w"].const_value.numpy()) == [3, 4]
    (path.parent / "weights.bin").write_bytes(np.array([3, 5], np.float32).tobytes())
    assert opened(path).key.digest != result.key.digest


def test_missing_external_data_is_named(tmp_path):
    path = external(tmp_path, "weights.bin")
    assert "weights.bin" in refused(path).reason


def test_too_short_external_data_is_named(tmp_path):
    path = external(tmp_path, "weights.bin")
    (path.parent / "weights.bin").write_bytes(b"1234")
    assert "'w'" in refused(path).reason


@pytest.mark.parametrize("location", ["../secret.bin", "../model/../secret.bin", "/etc/hostname"])
def test_external_data_outside_the_folder_is_refused(tmp_path, location):
    path = external(tmp_path, location)
    (tmp_path / "secret.bin").write_bytes(bytes(8))
    assert "outside" in refused(path).reason


def test_external_data_behind_a_link_out_of_the_folder_is_refused(tmp_path):
    path = external(tmp_path, "weights.bin")
    (tmp_path / "secret.bin").write_bytes(bytes(8))
    (path.parent / "weights.bin").symlink_to(tmp_path / "secret.bin")
    assert "outside" in refused(path).reason
