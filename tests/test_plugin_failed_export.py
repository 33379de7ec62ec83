"""A model that cannot be exported is one finding per test, with its kind and cause, and never our traceback."""

import pytest

UNSUPPORTED = """
    import torch

    class Net(torch.nn.Module):
        def forward(self, x):
            return torch.special.i1e(x)

    def build():
        return Net()

    def inputs(seed):
        return (torch.randn(2, 3),)
"""


def one_finding(run, *texts):
    """The failed test shows one finding and no traceback."""
    run.outcomes(failed=1).has(*texts).lacks("Traceback", "pytest_modelcheck/", "gates of this test")
    failures = run.text.partition("= FAILURES =")[2].partition("= modelcheck =")[0]
    assert failures.count("modelcheck: ") == 1, failures
    return run


def test_a_build_that_raises(project):
    project.replace("net.py", "return Net()", "raise RuntimeError('no such checkpoint')")
    run = project.gated("expect_ops(Gemm=2)", "expect_accuracy()", "expect_reduction(total=0)").run()
    one_finding(
        run,
        "[error] modelcheck: build expected a working model case, found net: build() raised RuntimeError: "
        "no such checkpoint in net (torchscript, target portable)",
    )


def test_inputs_that_raise(project):
    project.replace("net.py", "return (torch.randn(2, 3),)", "raise ValueError('no data')")
    one_finding(
        project.gated("expect_ops(Gemm=2)").run(),
        "found inputs_failed: inputs(0) raised ValueError: no data in net (torchscript",
    )


def test_inputs_that_do_not_fit(project):
    project.replace("net.py", "torch.randn(2, 3)", "torch.randn(2, 5)")
    run = project.gated("expect_ops(Gemm=2)", "expect_hierarchy(coverage='>=95%')", body="modelcheck.attribution").run()
    one_finding(
        run,
        "[error] modelcheck: export expected an ONNX model, found forward_failed: ",
        "mat1 and mat2 shapes cannot be multiplied (2x5 and 3x4)",
        "where: ",
        "net.py",
    )
    run.has("export failed: forward_failed", "what it means: python -m pytest_modelcheck explain forward_failed")
    assert run.text.count("mat1 and mat2 shapes cannot be multiplied") == 1


def test_inputs_that_the_forward_does_not_take(project):
    project.replace("net.py", "return (torch.randn(2, 3),)", "return {'y': torch.randn(2, 3)}")
    one_finding(project.gated("expect_ops(Gemm=2)").run(), "found signature_mismatch: ", "'y'")


def test_an_operator_that_the_exporter_does_not_know(project):
    run = one_finding(
        project.model(UNSUPPORTED).gated("expect_ops(Gemm=2)", "expect_reduction(total='>=1%')").run(),
        "found unsupported_operator: ",
        "special_i1e",
        "next:  ",
    )
    run.has("export failed: unsupported_operator")


def test_the_body_that_asks_for_a_missing_result_shows_the_same_single_finding(project):
    project.model(UNSUPPORTED).gated("expect_ops(Gemm=2)", body="modelcheck.attribution")
    one_finding(project.run(), "found unsupported_operator: ")


def test_a_fixture_that_needs_the_export_shows_the_finding(project):
    run = project.model(UNSUPPORTED).gated(fixtures="attribution").run().outcomes(errors=1)
    run.has("modelcheck: export expected an ONNX model, found unsupported_operator: ")


FILE_CASE = """
    import pytest
    from pathlib import Path
    from pytest_modelcheck import ModelCase

    @pytest.fixture
    def model_case():
        return ModelCase.from_onnx(Path(__file__).with_name("net.onnx"))
"""


@pytest.fixture
def file_project(project):
    return project.conftest(FILE_CASE).gated("expect_ops(Gemm=2)", "expect_reduction(total=0)")


def save(project, nodes=True, external=False):
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(3, 4), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])
    graph = helper.make_graph([helper.make_node("Gemm", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    if not nodes:
        graph = helper.make_graph([], "g", [x], [x])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    arguments = {"save_as_external_data": True, "location": "net.data", "size_threshold": 0} if external else {}
    onnx.save(model, project.path / "net.onnx", **arguments)


def test_a_file_that_is_not_there(file_project):
    run = one_finding(file_project.run(), "found invalid_model: ", "net.onnx: no such file")
    run.has("export failed: invalid_model")


def test_a_file_that_does_not_parse(file_project):
    (file_project.path / "net.onnx").write_bytes(b"\xff\xfe not a model \x00" * 20)
    one_finding(file_project.run(), "found invalid_model: ", "net.onnx: is not an ONNX model: ")


def test_an_empty_file(file_project):
    (file_project.path / "net.onnx").write_bytes(b"")
    one_finding(file_project.run(), "found invalid_model: ", "net.onnx")


def test_a_file_without_a_node(file_project):
    save(file_project, nodes=False)
    one_finding(file_project.run(), "found invalid_model: ", "the graph has no node")


def test_external_data_that_is_missing(file_project):
    save(file_project, external=True)
    (file_project.path / "net.data").unlink()
    one_finding(file_project.run(), "initializer 'w' needs ", "net.data, which does not exist")


def test_external_data_that_is_cut_short(file_project):
    save(file_project, external=True)
    data = file_project.path / "net.data"
    data.write_bytes(data.read_bytes()[:40])
    one_finding(file_project.run(), "initializer 'w' ends beyond the end of ", "net.data")


def test_a_good_file_beside_these_passes(project):
    save(project, external=True)
    project.conftest(FILE_CASE).gated("expect_ops(Gemm=1)", "expect_reduction(total=0)").run().outcomes(passed=1)
