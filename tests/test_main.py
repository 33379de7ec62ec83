"""The commands for plain .onnx files: what they print, their exit status, bad input."""

import json

import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.__main__ import main

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\nagraph (float[2] x) => (float[2] y) '


def save(folder, body, name="model.onnx"):
    path = folder / name
    ir.save(ir.from_onnx_text(HEADER + body), path)
    return path


@pytest.fixture
def model(tmp_path):
    return save(tmp_path, "{ a = Identity(x) b = Relu(a) dead = Neg(b) y = Abs(b) }")


def test_attribute_prints_one_row_per_pass_and_the_totals(model, capsys):
    assert main(["attribute", str(model)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["eliminate_dead_nodes", "-1", "-1", "-1", "fired"] in lines
    assert ["eliminate_identity_ops", "-1", "-1", "-1", "fired"] in lines
    assert ["nodes", "4", "->", "2", "(Constants", "beside:", "0", "->", "0)"] in lines


def test_attribute_takes_the_passes_to_run(model, capsys):
    assert main(["attribute", str(model), "--pass", "eliminate_dead_nodes", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in figures["passes"]] == ["eliminate_dead_nodes"]
    assert figures["nodes"]["after"] == 3


def test_optimize_writes_the_result_beside_the_file(model, capsys):
    assert main(["optimize", str(model)]) == 0
    written = model.with_name("model.optimized.onnx")
    assert [node.op_type for node in onnx.load(written).graph.node] == ["Relu", "Abs"]
    assert capsys.readouterr().out == f"{written}: 4 -> 2 nodes\n"


def test_inspect_says_what_a_file_holds_and_that_nobody_owns_its_nodes(model, capsys):
    assert main(["inspect", str(model), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["operators"] == {"Abs": 1, "Identity": 1, "Neg": 1, "Relu": 1}
    assert figures["coverage"] == 0
    assert "no node names a module" in figures["reason"]


def test_diff_tells_equal_from_different_by_its_exit_status(model, tmp_path, capsys):
    assert main(["diff", str(model), str(model)]) == 0
    assert capsys.readouterr().out == "no module changed its operators\n"
    other = save(tmp_path, "{ a = Identity(x) b = Tanh(a) dead = Neg(b) y = Abs(b) }", "other.onnx")
    assert main(["diff", str(model), str(other)]) == 1
    assert capsys.readouterr().out == "(no module): -1 Relu, +1 Tanh\n"


def test_bad_input_is_one_line_and_exit_status_2(tmp_path, model, capsys):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"this is no protobuf")
    for arguments, message in [
        (["attribute", str(tmp_path / "none.onnx")], "no such file"),
        (["optimize", str(broken)], "broken.onnx"),
        (["attribute", str(model), "--pass", "eliminate_dead_node"], "did you mean 'eliminate_dead_nodes'?"),
    ]:
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert message in error
    assert not broken.with_name("broken.optimized.onnx").exists()
