"""What `write_model` writes is what onnx reads, however the weights are kept."""

import io
import tracemalloc

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from pytest_modelcheck.graph.protobuf_stream import write_model

TEXT = """<ir_version: 10, opset_import: ["": 20], producer_name: "somebody"> g (float[2,N] x) => (float[2,N] y)
    { y = Identity(x) }"""


def model_with(*tensors: onnx.TensorProto) -> onnx.ModelProto:
    model = onnx.parser.parse_model(TEXT)
    model.graph.initializer.extend(tensors)
    model.metadata_props.add(key="owner", value="me")
    return model


def written(model: ir.Model) -> bytes:
    stream = io.BytesIO()
    write_model(model, stream)
    return stream.getvalue()


def large(dtype, name="w"):
    return numpy_helper.from_array(np.random.default_rng(0).integers(0, 2, size=(40, 300)).astype(dtype), name)


@pytest.mark.parametrize(
    "tensor",
    [
        large(np.float32),
        large(np.float64),
        large(np.int64),
        large(bool),
        large(np.complex64),
        large(ml_dtypes.bfloat16),
        large(ml_dtypes.int4),
        large(ml_dtypes.float8_e4m3fn),
        helper.make_tensor("w", onnx.TensorProto.FLOAT, [400], np.arange(400, dtype=np.float32)),  # not as raw bytes
        helper.make_tensor("w", onnx.TensorProto.STRING, [300], [b"a longer text"] * 300),
        helper.make_tensor("w", onnx.TensorProto.FLOAT, [0], []),
    ],
    ids=lambda tensor: f"{onnx.TensorProto.DataType.Name(tensor.data_type)}-{list(tensor.dims)}",
)
def test_what_was_written_is_read_again(tensor):
    model = model_with(numpy_helper.from_array(np.float32(3), "first"), tensor, large(np.float32, "last"))
    model.graph.initializer[2].doc_string = "a weight"
    model.graph.initializer[2].metadata_props.add(key="k", value="v")
    read = onnx.load_from_string(written(ir.from_proto(model)))
    onnx.checker.check_model(read)
    assert [t.name for t in read.graph.initializer] == ["first", "w", "last"]
    for got, want in zip(read.graph.initializer, model.graph.initializer, strict=True):
        assert (got.data_type, got.dims, got.doc_string) == (want.data_type, want.dims, want.doc_string)
        assert list(got.metadata_props) == list(want.metadata_props)
        np.testing.assert_array_equal(numpy_helper.to_array(got), numpy_helper.to_array(want))
    expected = ir.to_proto(ir.from_proto(model))
    del read.graph.initializer[:], expected.graph.initializer[:]
    assert read == expected, "nothing else differs"


def test_it_is_a_message_of_its_own_that_onnxruntime_loads():
    model = onnx.parser.parse_model(TEXT.replace("Identity(x)", "MatMul(x, w)").replace("2,N", "2,64"))
    model.graph.initializer.append(numpy_helper.from_array(2 * np.eye(64, dtype=np.float32), "w"))
    content = written(ir.from_proto(model))
    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    (y,) = session.run(None, {"x": np.ones((2, 64), np.float32)})
    assert np.all(y == 2)
    assert len(content) == ir.to_proto(ir.from_proto(model)).ByteSize(), "no field stands twice"


def test_the_model_is_put_back():
    model = ir.from_proto(model_with(large(np.float32)))
    before = model.graph.initializers["w"].const_value
    written(model)
    assert model.graph.initializers["w"].const_value is before


def test_a_model_that_cannot_be_written_is_put_back_and_nothing_is_written():
    model = ir.from_proto(model_with(large(np.float32)))
    before = model.graph.initializers["w"].const_value
    model.graph.inputs[0].name = None
    stream = io.BytesIO()
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever onnx_ir raises
        write_model(model, stream)
    assert stream.getvalue() == b""
    assert model.graph.initializers["w"].const_value is before


class Short(ir.Tensor):
    def tobytes(self):
        return super().tobytes()[:-4]


def test_a_tensor_that_gives_other_bytes_than_it_says_is_an_error():
    model = ir.from_proto(model_with(large(np.float32)))
    model.graph.initializers["w"].const_value = Short(np.zeros((40, 300), np.float32))
    with pytest.raises(ValueError, match="initializer 'w' has 47996 bytes of data, not 48000"):
        written(model)


def test_it_takes_the_memory_of_one_tensor(tmp_path):
    each = 1 << 20
    model = ir.from_proto(model_with(*(large(np.float32, f"w{i}") for i in range(3))))
    for index in range(3):
        model.graph.initializers[f"w{index}"].const_value = ir.Tensor(np.zeros(each, np.uint8))
    with (tmp_path / "net.onnx").open("wb") as stream:
        tracemalloc.start()
        write_model(model, stream)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert each <= peak < 1.5 * each
