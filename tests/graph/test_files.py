"""Reading: what is wrong with a file is said with its name. Writing: a file is there whole, or the old one is."""

import errno
import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_modelcheck.errors import InvalidModelError
from pytest_modelcheck.graph import files
from pytest_modelcheck.graph.files import load_model, save_beside, save_model
from pytest_modelcheck.pipeline import optimize
from pytest_modelcheck.runtimes import open_session


def proto(size=400):
    weight = numpy_helper.from_array(np.arange(3 * size, dtype=np.float32).reshape(3, size), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, size])
    graph = helper.make_graph([helper.make_node("Gemm", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_collection_is_paused_while_a_model_is_written(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(files, "write_model", lambda model, stream: seen.append(gc.isenabled()))
    save_model(ir.from_proto(proto()), tmp_path / "net.onnx")
    assert (seen, gc.isenabled()) == ([False], True)


@pytest.fixture
def external(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(proto(), path, save_as_external_data=True, location="net.data", size_threshold=0)
    return path


def refused(path):
    with pytest.raises(InvalidModelError) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ") or f"{path} " in str(caught.value)
    return str(caught.value)


def test_external_weights_stay_in_their_file_until_they_are_read(external):
    tensor = load_model(external).graph.initializers["w"].const_value
    assert isinstance(tensor, ir.ExternalTensor)
    assert tensor.numpy()[2, 399] == 1199


def test_a_file_that_is_missing(tmp_path):
    assert refused(tmp_path / "no.onnx").endswith("no such file")


@pytest.mark.parametrize("content", [b"not a model", b"\xff\xfe\x00", b"\x08\x0a" * 40])
def test_a_file_that_does_not_parse(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.99])
def test_a_file_cut_short(tmp_path, kept):
    path = tmp_path / "cut.onnx"
    content = proto().SerializeToString()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
    refused(path)


def test_external_data_that_is_missing(external):
    external.with_name("net.data").unlink()
    assert "initializer 'w' needs " in refused(external)


@pytest.mark.parametrize(("bytes_left", "fine"), [(4800, True), (4799, False), (0, False)])
def test_external_data_that_is_too_short_by_one_byte(external, bytes_left, fine):
    data = external.with_name("net.data")
    data.write_bytes(data.read_bytes()[:bytes_left])
    if fine:
        load_model(external)
    else:
        assert "initializer 'w' ends beyond the end of " in refused(external)


@pytest.mark.parametrize("location", ["../outside.data", "/etc/hostname"])
def test_external_data_outside_the_folder_of_the_model(tmp_path, location):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.data").write_bytes(bytes(4800))
    model = proto()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "4800"}.items():
        tensor.external_data.add(key=key, value=value)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    assert "outside" in refused(folder / "net.onnx")


def constant_in_a_file(location, name="const"):
    """The model with its weight as the external tensor of a Constant node."""
    model = proto()
    tensor = model.graph.initializer.pop()
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, "offset": "0", "length": "4800"}.items():
        tensor.external_data.add(key=key, value=value)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], name=name, value=tensor))
    return model.SerializeToString()


def test_external_data_of_a_constant_node_is_found_beside_the_model(tmp_path):
    (tmp_path / "net.data").write_bytes(np.full(1200, 3, np.float32).tobytes())
    (tmp_path / "net.onnx").write_bytes(constant_in_a_file("net.data"))
    model = load_model(tmp_path / "net.onnx")
    assert model.graph[0].attributes["value"].as_tensor().numpy()[2, 399] == 3
    save_model(model, tmp_path / "other" / "net.onnx")
    assert load_model(tmp_path / "other" / "net.onnx").graph[0].attributes["value"].as_tensor().nbytes == 4800


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("none.data", "attribute 'value' of node 'const' needs {folder}/none.data, which does not exist"),
        (".", "attribute 'value' of node 'const' needs {folder}, which is not a file"),
        ("../outside.data", "attribute 'value' of node 'const' points outside the model's folder: "),
        ("/etc/hostname", "attribute 'value' of node 'const' points outside the model's folder: /etc/hostname"),
    ],
)
def test_external_data_of_a_constant_node_that_is_not_there(tmp_path, location, message):
    (tmp_path / "model").mkdir()
    (tmp_path / "outside.data").write_bytes(bytes(4800))
    path = tmp_path / "model" / "net.onnx"
    path.write_bytes(constant_in_a_file(location))
    assert message.format(folder=path.parent) in refused(path)


def test_a_node_without_a_name_is_told_by_what_it_makes(tmp_path):
    (tmp_path / "net.onnx").write_bytes(constant_in_a_file("none.data", name=""))
    assert "of node 'w' needs " in refused(tmp_path / "net.onnx")


def test_a_model_that_the_checker_refuses(tmp_path):
    model = proto()
    model.graph.node[0].op_type = "Gem"
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    assert "does not pass onnx.checker: No Op registered for Gem" in refused(tmp_path / "net.onnx")


def test_saving_and_loading_gives_the_same_model_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "deep" / "net.onnx"
    save_model(ir.from_proto(proto()), path)
    assert load_model(path).graph.initializers["w"].const_value.numpy()[2, 399] == 1199
    assert list(path.parent.iterdir()) == [path]


def test_weights_of_another_file_are_written_into_a_small_model(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGE_MODEL_BYTES", 100)
    save_model(ir.from_proto(proto()), tmp_path / "net.onnx")
    model = load_model(tmp_path / "net.onnx")
    monkeypatch.undo()
    (tmp_path / "other").mkdir()
    save_model(model, tmp_path / "other" / "net.onnx")
    save_model(model, tmp_path / "net.onnx")  # in place: the file that the weights came from goes
    for folder in (tmp_path / "other", tmp_path):
        assert [path.name for path in folder.iterdir() if path.is_file()] == ["net.onnx"]
        assert load_model(folder / "net.onnx").graph.initializers["w"].const_value.numpy()[2, 399] == 1199


def test_large_weights_go_into_a_file_beside_it_and_the_model_object_keeps_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGE_MODEL_BYTES", 4799)
    model = ir.from_proto(proto())
    before = model.graph.initializers["w"].const_value
    save_model(model, tmp_path / "net.onnx")
    assert model.graph.initializers["w"].const_value is before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "net.onnx.data"]
    assert load_model(tmp_path / "net.onnx").graph.initializers["w"].const_value.numpy()[2, 399] == 1199
    monkeypatch.setattr(files, "LARGE_MODEL_BYTES", 4800)
    save_model(model, tmp_path / "small.onnx")
    assert not (tmp_path / "small.onnx.data").exists()


def test_a_model_may_be_written_over_the_file_its_weights_are_read_from(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGE_MODEL_BYTES", 100)
    path = tmp_path / "net.onnx"
    save_model(ir.from_proto(proto()), path)
    save_model(load_model(path), path)
    assert load_model(path).graph.initializers["w"].const_value.numpy()[2, 399] == 1199


def test_a_writer_that_is_killed_leaves_the_old_file(tmp_path):
    path = tmp_path / "net.onnx"
    save_model(ir.from_proto(proto()), path)
    before = path.read_bytes()
    script = (
        "import os, sys, onnx_ir as ir\n"
        "from pytest_modelcheck.graph.files import load_model, save_model\n"
        "model = load_model(sys.argv[1])\n"
        "model.graph[0].name = 'another'\n"
        "os.replace = lambda *paths: os.kill(os.getpid(), 9)\n"  # everything is written, nothing is in place
        "save_model(model, sys.argv[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True)
    assert done.returncode == -9
    assert path.read_bytes() == before
    load_model(path)


def test_a_writer_that_is_killed_between_weights_and_graph_leaves_the_old_weights(tmp_path):
    path = tmp_path / "net.onnx"
    script = (
        "import os, sys, onnx_ir as ir\n"
        "from pytest_modelcheck.graph import files\n"
        "files.LARGE_MODEL_BYTES = 100\n"
        "model = files.load_model(sys.argv[1])\n"
        "weights = model.graph.initializers['w']\n"
        "weights.const_value = ir.tensor(weights.const_value.numpy() * 2, name='w')\n"
        "replace = os.replace\n"
        "def once(*paths):\n"
        "    replace(*paths)\n"
        "    if kill: os.kill(os.getpid(), 9)\n"
        "os.replace, kill = once, sys.argv[2] == 'kill'\n"
        "files.save_model(model, sys.argv[1])\n"
    )
    save_model(ir.from_proto(proto()), path)
    for kill, status, last in (("no", 0, 2398), ("kill", -9, 2398), ("no", 0, 4796)):
        done = subprocess.run([sys.executable, "-c", script, str(path), kill], capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert load_model(path).graph.initializers["w"].const_value.numpy()[2, 399] == last


def test_a_write_that_fails_leaves_the_old_file_and_no_scratch(tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"old")
    model = ir.from_proto(proto())
    model.graph.inputs[0].name = None
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever onnx_ir raises
        save_model(model, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def two_weights(folder):
    """`x @ a + b`, with the weight `a` in the file w.data of `folder`."""
    model = ir.from_onnx_text(
        """<ir_version: 10, opset_import: ["": 20]> g (float[2,64] x) => (float[2,512] y)
        { h = MatMul(x, a)  y = Add(h, b) }"""
    )
    generator = np.random.default_rng(0)
    a, b = (ir.tensor(generator.random(s, dtype=np.float32), name=n) for n, s in (("a", (64, 512)), ("b", (512,))))
    (a,) = ir.external_data.convert_tensors_to_external([a], folder, "w.data")
    for name, tensor in (("a", a), ("b", b)):
        value = next(v for node in model.graph for v in node.inputs if v.name == name)
        value.const_value, value.shape, value.type = tensor, ir.Shape(tensor.shape), ir.TensorType(tensor.dtype)
        model.graph.register_initializer(value)
    return model


def initializers(model):
    return {name: value.const_value for name, value in model.graph.initializers.items()}


@pytest.mark.parametrize(("limit", "files"), [(10**9, {"o.onnx", "w.data"}), (0, {"o.onnx", "o.onnx.data", "w.data"})])
def test_weights_that_lie_in_the_folder_are_not_written_again(tmp_path, monkeypatch, limit, files):
    monkeypatch.setattr("pytest_modelcheck.graph.files.LARGE_MODEL_BYTES", limit)
    model = two_weights(tmp_path)
    expected = {name: tensor.numpy().copy() for name, tensor in initializers(model).items()}
    kept = initializers(model)
    save_beside(model, tmp_path / "o.onnx")
    assert {file.name for file in tmp_path.iterdir()} == files
    assert initializers(model) == kept, "the model itself stays as it was"
    read = initializers(load_model(tmp_path / "o.onnx"))
    assert read["a"].location == "w.data"
    for name, array in expected.items():
        np.testing.assert_array_equal(read[name].numpy(), array)


@pytest.mark.parametrize("write", [save_model, save_beside])
def test_shapes_that_operators_take_stay_in_the_graph_when_large_weights_do_not(tmp_path, monkeypatch, write):
    """onnxruntime infers shapes from them while it loads, and opens no other file for that."""
    monkeypatch.setattr("pytest_modelcheck.graph.files.LARGE_MODEL_BYTES", 0)
    made = proto()
    made.graph.node[0].output[0] = "flat"
    made.graph.node.append(helper.make_node("Reshape", ["flat", "shape"], ["y"]))
    made.graph.initializer.append(numpy_helper.from_array(np.array([2, -1, 4], np.int64), "shape"))
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 100, 4]))
    write(ir.from_proto(made), tmp_path / "o.onnx")
    assert (tmp_path / "o.onnx.data").is_file()
    assert isinstance(load_model(tmp_path / "o.onnx").graph.initializers["w"].const_value, ir.ExternalTensor)
    session = open_session(tmp_path / "o.onnx")
    assert session.run({"x": np.ones((2, 3), np.float32)})["y"].shape == (2, 100, 4)


@pytest.mark.parametrize("write", [save_model, save_beside])
@pytest.mark.parametrize("large", [0, 2**20])
def test_no_value_info_of_weights_is_written(tmp_path, monkeypatch, write, large):
    monkeypatch.setattr("pytest_modelcheck.graph.files.LARGE_MODEL_BYTES", large)
    model = ir.from_proto(proto())
    write(model, tmp_path / "o.onnx")
    written = onnx.load(tmp_path / "o.onnx", load_external_data=False).graph
    assert not {info.name for info in written.value_info} & {weight.name for weight in written.initializer}
    assert all(value.dtype is not None for value in model.graph.initializers.values()), "the model itself keeps them"
    assert all(value.dtype is not None for value in load_model(tmp_path / "o.onnx").graph.initializers.values())


def test_weights_of_another_folder_are_written_with_the_graph(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    model = two_weights(other)
    (tmp_path / "here").mkdir()
    save_beside(model, tmp_path / "here" / "o.onnx")
    other.joinpath("w.data").unlink()
    assert load_model(tmp_path / "here" / "o.onnx").graph.initializers["a"].const_value.numpy().shape == (64, 512)


def test_a_disk_that_fills_up_leaves_neither_graph_nor_scratch_beside_the_weights(tmp_path, monkeypatch):
    model = two_weights(tmp_path)

    def full(path, content):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        save_beside(model, tmp_path / "passes.onnx")
    assert [file.name for file in tmp_path.iterdir()] == ["w.data"]


def in_branches(*numbers):
    """An If with a weight of 2 KiB, by the same name, in each branch; their data at `numbers` in a file, if given."""
    branches = []
    for number in (0, 1):
        out = onnx.helper.make_tensor_value_info(f"o{number}", 1, ["N", 512])
        node = onnx.helper.make_node("Mul", ["x", "w"], [f"o{number}"])
        graph = onnx.helper.make_graph([node], f"branch{number}", [], [out])
        tensor = onnx.numpy_helper.from_array(np.full((1, 512), number + 1, np.float32), "w")
        if numbers:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, entry in (("location", "w.bin"), ("offset", numbers[number]), ("length", 2048)):
                tensor.external_data.add(key=key, value=str(entry))
        graph.initializer.append(tensor)
        branches.append(graph)
    choice = onnx.helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])
    inputs = [onnx.helper.make_tensor_value_info("x", 1, ["N", 512]), onnx.helper.make_tensor_value_info("c", 9, [])]
    outputs = [onnx.helper.make_tensor_value_info("y", 1, ["N", 512])]
    graph = onnx.helper.make_graph([choice], "g", inputs, outputs)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=10)


def weights_of_branches(model):
    branches = sorted(model.graph.subgraphs(), key=lambda graph: graph.name)
    return [graph.initializers["w"].const_value.numpy()[0, 0] for graph in branches]


def test_external_data_of_a_branch_is_found_beside_the_model_and_optimized(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    np.repeat(np.array([1, 2], np.float32), 512).tofile(tmp_path / "w.bin")
    (tmp_path / "net.onnx").write_bytes(in_branches(0, 2048).SerializeToString())
    written = optimize(tmp_path / "net.onnx", output=tmp_path / "other.onnx")
    assert weights_of_branches(load_model(written)) == [1, 2]


def test_large_weights_of_branches_go_into_a_file_beside_the_model(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGE_MODEL_BYTES", 4095)
    save_model(ir.from_proto(in_branches()), tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx.data").stat().st_size >= 4096
    assert weights_of_branches(load_model(tmp_path / "net.onnx")) == [1, 2]


@pytest.mark.parametrize("before", ["nothing", "a graph with these weights"])
def test_weights_of_the_model_that_is_read_stay_although_they_are_called_like_the_one_that_is_written(
    tmp_path, monkeypatch, before
):
    monkeypatch.setattr(files, "LARGE_MODEL_BYTES", 100)
    save_model(ir.from_proto(proto()), tmp_path / "net.optimized.onnx")
    (tmp_path / "v2.onnx").write_bytes((tmp_path / "net.optimized.onnx").read_bytes())
    if before == "nothing":
        (tmp_path / "net.optimized.onnx").unlink()
    monkeypatch.undo()
    optimize(tmp_path / "v2.onnx", output=tmp_path / "net.optimized.onnx")
    assert load_model(tmp_path / "v2.onnx").graph.initializers["w"].const_value.numpy()[2, 399] == 1199


def test_a_file_beside_the_model_that_is_not_its_own_is_neither_removed_nor_written_over(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "LARGE_MODEL_BYTES", 100)
    for name in ("net.onnx.data", "net.onnx.2.data"):
        (tmp_path / name).write_bytes(b"somebody else's")
    save_model(ir.from_proto(proto()), tmp_path / "net.onnx")
    save_model(ir.from_proto(proto()), tmp_path / "net.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "net.onnx", "net.onnx.2.data", "net.onnx.4.data", "net.onnx.data",
    ]  # fmt: skip
    assert (tmp_path / "net.onnx.data").read_bytes() == b"somebody else's"


@pytest.mark.parametrize(("dims", "fine"), [((3, 400), True), ((2**62, 4), False), ((-3, 400), False)])
def test_a_weight_that_is_larger_than_its_file(tmp_path, dims, fine):
    model = proto()
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    if fine:
        load_model(path)
    else:
        assert refused(path).endswith(f"initializer 'w' of shape [{dims[0]},{dims[1]}] is larger than the file")


def _with_tensor(tensor, in_node):
    model = proto()
    if in_node:
        made = onnx.helper.make_node("Constant", [], ["unread"], name="constant", value=tensor)
        model.graph.node.insert(0, made)
    else:
        tensor.name = "extra"
        model.graph.initializer.append(tensor)
    return model


@pytest.mark.parametrize("in_node", [False, True])
@pytest.mark.parametrize(
    ("dtype", "dims", "content", "wrong"),
    [
        (TensorProto.INT8, [1], {"raw_data": bytes(8)}, "has 8 bytes of data, and needs 1"),
        (TensorProto.INT64, [2], {"raw_data": bytes(15)}, "has 15 bytes of data, and needs 16"),
        (TensorProto.FLOAT, [], {}, "has 0 values, and needs 1"),
        (TensorProto.FLOAT, [2], {"float_data": [1.0]}, "has 1 values, and needs 2"),
        (TensorProto.FLOAT16, [2], {"int32_data": [1, 2, 3]}, "has 3 values, and needs 2"),
        (TensorProto.COMPLEX64, [1], {"float_data": [1.0]}, "has 1 values, and needs 2"),
        (TensorProto.INT4, [3], {"int32_data": [1, 2, 3]}, "has 3 values, and needs 2"),
        (TensorProto.INT64, [2], {"raw_data": bytes(16)}, ""),
        (TensorProto.FLOAT, [0], {}, ""),
        (TensorProto.FLOAT, [2], {"float_data": [1.0, 2.0]}, ""),
        (TensorProto.FLOAT16, [2], {"int32_data": [1, 2]}, ""),
        (TensorProto.COMPLEX64, [1], {"float_data": [1.0, 2.0]}, ""),
        (TensorProto.INT4, [3], {"int32_data": [1, 2]}, ""),
    ],
)
def test_a_tensor_holds_what_its_shape_needs(tmp_path, dtype, dims, content, wrong, in_node):
    path = tmp_path / "net.onnx"
    onnx.save(_with_tensor(TensorProto(data_type=dtype, dims=dims, **content), in_node), path)
    if not wrong:
        load_model(path)
        return
    where = "attribute 'value' of node 'constant'" if in_node else "initializer 'extra'"
    shape = f"[{','.join(map(str, dims))}]"
    assert f"{where} of shape {shape} and type {ir.DataType(dtype).name} {wrong}" in refused(path)
