"""Sessions: what they say about models that do not load and inputs that do not fit."""

import gc

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest

from pytest_modelcheck.runtimes import AT_DEFAULT_LEVEL, FeedError, How, SessionError, open_session

LINEAR = """<ir_version: 8, opset_import: ["" : 18]>
g (float[N,2] x, int64[N] ids) => (float[N,2] y, int64[N] same) {
 y = Relu(x)
 same = Identity(ids)
}"""


def model_of(text):
    return ir.from_onnx_text(text)


@pytest.fixture
def session():
    return open_session(model_of(LINEAR), name="linear")


def feeds(rows=3):
    return {"x": np.full((rows, 2), -1.5, np.float32), "ids": np.arange(rows)}


def test_outputs_come_by_name_in_graph_order(session):
    outputs = session.run(feeds())
    assert list(outputs) == ["y", "same"]
    assert outputs["y"].tolist() == [[0, 0]] * 3
    assert outputs["same"].tolist() == [0, 1, 2]


def test_the_signature_names_types_and_symbolic_sizes(session):
    assert [(p.name, p.element, p.shape) for p in session.inputs] == [
        ("x", "float", ("N", 2)),
        ("ids", "int64", ("N",)),
    ]
    assert str(session.inputs[0]) == "'x' float['N', 2]"


def test_a_misspelled_input_is_named_with_the_one_it_was_meant_to_be(session):
    with pytest.raises(FeedError, match=r"input 'ids' is missing; unknown input 'idx' \(did you mean 'ids'\?\)"):
        session.run({"x": feeds()["x"], "idx": feeds()["ids"]})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"ids": np.arange(3, dtype=np.int32)}, "input 'ids' must be int64, got int32"),
        ({"x": np.zeros((3, 3), np.float32)}, r"input 'x' must have shape \['N', 2\], got \[3, 3\]"),
        ({"x": np.zeros(3, np.float32)}, r"input 'x' must have shape \['N', 2\], got \[3\]"),
        ({"extra": np.zeros(3, np.float32)}, "unknown input 'extra'"),
    ],
)
def test_a_misfit_is_a_clear_error_that_lists_what_the_model_takes(session, changed, message):
    with pytest.raises(FeedError, match=message) as caught:
        session.run(feeds() | changed)
    assert "The model takes 'x' float['N', 2], 'ids' int64['N']" in str(caught.value)


def test_every_misfit_is_named_at_once(session):
    with pytest.raises(FeedError) as caught:
        session.run({"x": np.zeros((1, 2)), "id": np.zeros(1)})
    assert "'ids' is missing" in str(caught.value)
    assert "'id'" in str(caught.value)
    assert "'x' must be float, got float64" in str(caught.value)


@pytest.mark.parametrize("optimizer", [False, True])
def test_bfloat16_float8_and_zero_dimensional_values_keep_their_bits(optimizer):
    text = """<ir_version: 10, opset_import: ["" : 21]>
    g (bfloat16[N,2] x, float[] s, float16[2] h) => (bfloat16[N,2] y, float[] z, float8e4m3fn[2] e, bfloat16[0] w) {
     y = Identity(x)
     z = Identity(s)
     e = Cast<to=17>(h)
     w = Constant<value = bfloat16[0] {}>()
    }"""
    x = (np.arange(6).reshape(3, 2) / 3).astype(ml_dtypes.bfloat16)
    session = open_session(model_of(text), How(optimizer=optimizer))
    outputs = session.run({"x": x, "s": np.float32(7), "h": np.array([1, 448], np.float16)})
    assert outputs["y"].dtype == ml_dtypes.bfloat16
    assert outputs["y"].tobytes() == x.tobytes()
    assert outputs["z"].shape == ()
    assert outputs["z"] == 7
    assert outputs["e"].tolist() == [1, 448]
    assert outputs["w"].shape == (0,)


def test_raw_bits_outlive_the_run_that_made_them():
    text = '<ir_version: 10, opset_import: ["" : 21]> g (bfloat16[N] x) => (bfloat16[N] y) { y = Identity(x) }'
    session = open_session(model_of(text))
    first = session.run({"x": np.ones(4096, ml_dtypes.bfloat16)})["y"]
    for _ in range(5):
        session.run({"x": np.zeros(4096, ml_dtypes.bfloat16)})
    gc.collect()
    assert np.all(first == 1)


def test_strings_go_in_and_come_out():
    text = '<ir_version: 8, opset_import: ["" : 18]> g (string[2] x) => (string[2] y) { y = Identity(x) }'
    outputs = open_session(model_of(text)).run({"x": np.array(["a", "ß"])})
    assert outputs["y"].tolist() == ["a", "ß"]


def test_a_sequence_output_is_numbered():
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[2] a, float[3] b) => (seq(float[]) s) { s = SequenceConstruct(a, b) }"""
    outputs = open_session(model_of(text)).run({"a": np.ones(2, np.float32), "b": np.ones(3, np.float32)})
    assert {name: array.shape for name, array in outputs.items()} == {"s.0": (2,), "s.1": (3,)}


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_a_file_that_is_no_model_is_a_typed_error_that_names_it(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(SessionError, match=r"broken\.onnx: onnxruntime cannot load the model"):
        open_session(path)


def test_a_missing_file_is_a_typed_error(tmp_path):
    with pytest.raises(SessionError, match="no such file"):
        open_session(tmp_path / "absent.onnx")


def test_an_operator_that_onnxruntime_lacks_is_a_typed_error_that_names_it():
    text = """<ir_version: 8, opset_import: ["" : 18, "my.domain" : 1]>
    g (float[N] x) => (float[N] y) { y = my.domain.Foo(x) }"""
    with pytest.raises(SessionError, match=r"my\.domain"):
        open_session(model_of(text))


def test_a_run_that_fails_is_a_typed_error_that_names_the_session():
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[N] x, int64[M] shape) => (float[A,B] y) { y = Reshape(x, shape) }"""
    session = open_session(model_of(text), name="reshaping")
    with pytest.raises(SessionError, match="reshaping: onnxruntime failed to run the model"):
        session.run({"x": np.zeros(3, np.float32), "shape": np.array([2, 2])})


def test_a_provider_that_is_not_there_is_an_error_and_not_a_silent_fallback():
    with pytest.raises(SessionError, match=r"no execution provider 'CPUUExecutionProvider' \(did you mean 'CPUExec"):
        open_session(model_of(LINEAR), How(provider="CPUU"))


def test_a_default_may_be_fed_and_may_be_left_out():
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[2] x, float[2] bias) => (float[2] y) <float[2] bias = {1, 2}> { y = Add(x, bias) }"""
    session = open_session(model_of(text))
    x = np.zeros(2, np.float32)
    assert session.run({"x": x})["y"].tolist() == [1, 2]
    assert session.run({"x": x, "bias": np.array([5, 5], np.float32)})["y"].tolist() == [5, 5]


def test_large_weights_are_shared_with_the_model_which_stays_as_it_was():
    weight = ir.tensor(np.random.default_rng(0).standard_normal((600, 600)).astype(np.float32), name="w")
    model = _matmul(weight)
    session = open_session(model, AT_DEFAULT_LEVEL)
    x = np.eye(600, dtype=np.float32)[:2]
    np.testing.assert_allclose(session.run({"x": x})["y"], weight.numpy()[:2], rtol=1e-6)
    assert model.graph.initializers["w"].const_value is weight
    del session
    again = open_session(ir.to_proto(model))
    np.testing.assert_allclose(again.run({"x": x})["y"], weight.numpy()[:2], rtol=1e-6)


def _matmul(weight):
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(["N", 600]))
    w = ir.Value(name="w", const_value=weight, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(weight.shape))
    node = ir.node("MatMul", [x, w])
    y = node.outputs[0]
    y.name, y.type, y.shape = "y", ir.TensorType(ir.DataType.FLOAT), ir.Shape(["N", weight.shape[1]])
    graph = ir.Graph([x], [y], nodes=[node], initializers=[w], opset_imports={"": 18}, name="matmul")
    return ir.Model(graph, ir_version=8)


def test_a_bound_run_is_checked_before_and_runs_without_checks(session):
    run = session.bind(feeds())
    assert [value.shape for value in run()] == [(3, 2), (3,)]
    with pytest.raises(FeedError):
        session.bind({})


def test_the_same_session_twice_gives_the_same_bits():
    weight = ir.tensor(np.random.default_rng(0).standard_normal((600, 600)).astype(np.float32), name="w")
    session = open_session(_matmul(weight), How(optimizer=True, threads=2))
    x = np.random.default_rng(1).standard_normal((64, 600)).astype(np.float32)
    assert session.run({"x": x})["y"].tobytes() == session.run({"x": x})["y"].tobytes()


def test_a_session_keeps_the_weights_alive_after_the_model_is_gone():
    weight = np.random.default_rng(0).standard_normal((600, 600)).astype(np.float32)
    run = open_session(_matmul(ir.tensor(weight.copy(), name="w"))).bind({"x": np.eye(600, dtype=np.float32)})
    gc.collect()
    overwritten = [np.zeros((600, 600), np.float32) for _ in range(20)]
    np.testing.assert_allclose(run()[0], weight, rtol=1e-6)
    assert len(overwritten) == 20


def test_a_large_weight_that_no_node_reads_is_left_out():
    model = model_of(LINEAR)
    unused = ir.Value(name="unused", const_value=ir.tensor(np.ones(1 << 16, np.float32), name="unused"))
    model.graph.initializers["unused"] = unused
    assert open_session(model).run(feeds())["same"].tolist() == [0, 1, 2]
    assert "unused" in model.graph.initializers


@pytest.mark.parametrize("size", [4, 600])
def test_weights_that_lie_in_a_file_are_read_from_there(tmp_path, size):
    weight = np.random.default_rng(0).standard_normal((600, size)).astype(np.float32)
    model = _matmul(ir.tensor(weight, name="w"))
    ir.save(model, tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    loaded = ir.load(tmp_path / "m.onnx")
    assert isinstance(loaded.graph.initializers["w"].const_value, ir.ExternalTensor)
    outputs = open_session(loaded, AT_DEFAULT_LEVEL).run({"x": np.eye(600, dtype=np.float32)})
    np.testing.assert_allclose(outputs["y"], weight, rtol=1e-6)


@pytest.mark.parametrize("optimizer", [False, True])
def test_a_session_that_spares_memory_maps_the_file_and_gives_the_same_numbers(tmp_path, optimizer):
    weight = np.random.default_rng(0).standard_normal((600, 600)).astype(np.float32)
    ir.save(_matmul(ir.tensor(weight, name="w")), tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    loaded = ir.load(tmp_path / "m.onnx")
    plain, spare = (open_session(loaded, How(optimizer=optimizer, spare_memory=spare)) for spare in (False, True))
    assert [len(session.held) for session in (plain, spare)] == [1, 0]
    x = {"x": np.random.default_rng(1).standard_normal((8, 600)).astype(np.float32)}
    np.testing.assert_allclose(plain.run(x)["y"], spare.run(x)["y"], rtol=0, atol=1e-4)  # of values to 100


def test_a_session_that_spares_memory_takes_weights_from_two_folders_and_from_memory(tmp_path):
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[2,600] x) => (float[2,600] y) <float[600,600] a, float[600,600] b, float[600,600] c> {
     p = MatMul(x, a)
     q = MatMul(p, b)
     y = MatMul(q, c)
    }"""
    eye = np.eye(600, dtype=np.float32)
    weights = {name: ir.tensor(eye * factor, name=name) for name, factor in (("a", 2), ("b", 3), ("c", 5))}
    for name in "ab":
        (tmp_path / name).mkdir()
        (weights[name],) = ir.external_data.convert_tensors_to_external([weights[name]], tmp_path / name, "w.data")
    model = model_of(text)
    for name, tensor in weights.items():
        value = next(value for node in model.graph for value in node.inputs if value.name == name)
        value.const_value = tensor
        model.graph.initializers[name] = value
    session = open_session(model, How(spare_memory=True))
    assert session.run({"x": eye[:2]})["y"].tolist() == (30 * eye[:2]).tolist()


def test_weights_whose_file_is_gone_are_a_typed_error(tmp_path):
    ir.save(_matmul(ir.tensor(np.ones((600, 600), np.float32), name="w")), tmp_path / "m.onnx", external_data="m.data")
    loaded = ir.load(tmp_path / "m.onnx")
    (tmp_path / "m.data").unlink()
    with pytest.raises(SessionError, match="cannot be written for onnxruntime"):
        open_session(loaded, name="lost")
    with pytest.raises(SessionError, match="lost: onnxruntime cannot load the model"):
        open_session(loaded, How(spare_memory=True), name="lost")


@pytest.mark.parametrize("dtype", [ir.DataType.BFLOAT16, ir.DataType.FLOAT16, ir.DataType.INT64, ir.DataType.INT4])
def test_large_weights_of_every_kind_arrive_as_they_are(dtype):
    weight = ir.tensor(np.arange(-7, 7).repeat(10000).astype(dtype.numpy()), dtype=dtype, name="w")
    value = ir.Value(name="w", const_value=weight, type=ir.TensorType(dtype), shape=ir.Shape(weight.shape))
    node = ir.node("Cast", [value], attributes={"to": int(ir.DataType.FLOAT)})
    y = node.outputs[0]
    y.name, y.type, y.shape = "y", ir.TensorType(ir.DataType.FLOAT), ir.Shape(weight.shape)
    graph = ir.Graph([], [y], nodes=[node], initializers=[value], opset_imports={"": 21}, name="cast")
    outputs = open_session(ir.Model(graph, ir_version=10)).run({})
    assert outputs["y"][::10000].tolist() == list(range(-7, 7))


def test_an_opset_that_this_onnxruntime_does_not_read_is_an_error_with_a_way_out():
    text = '<ir_version: 10, opset_import: ["" : 99]> g (float[2] x) => (float[2] y) { y = Abs(x) }'
    wanted = r"onnxruntime \S+ reads opsets up to \d+, this one is higher; install a newer onnxruntime, or take a lower"
    with pytest.raises(SessionError, match=wanted):
        open_session(ir.from_onnx_text(text), How(), name="net")
