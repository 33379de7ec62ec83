"""The commands for plain .onnx files: what they print, their exit status, bad input."""

import importlib.util
import json
import subprocess
import sys
from importlib import metadata

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_modelcheck.__main__ import main
from pytest_modelcheck.foreign import FOREIGN_PASSES
from pytest_modelcheck.passes import PASSES
from pytest_modelcheck.pipeline import pass_name

HEADER = '<ir_version: 10, opset_import: ["" : 20]>\nagraph (float[2] x) => (float[2] y) '


def save(folder, body, name="model.onnx"):
    path = folder / name
    ir.save(ir.from_onnx_text(HEADER + body), path)
    return path


@pytest.fixture
def model(tmp_path):
    return save(tmp_path, "{ a = Identity(x) b = Relu(a) dead = Neg(b) y = Abs(b) }")


def rows(capsys):
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_attribute_prints_one_row_per_pass_and_the_totals(model, capsys):
    assert main(["attribute", str(model)]) == 0
    lines = rows(capsys)
    assert lines[0] == ["pass", "alone", "in", "order", "Constants", "initializers", "seconds", "status"]
    assert [[*line[:5], line[-1]] for line in lines if line[0] == "eliminate_dead_nodes"] == [
        ["eliminate_dead_nodes", "-1", "-1", "0", "0", "fired"]
    ]
    assert ["eliminate_identity_ops:", "Identity", "-1"] in lines
    assert lines[-2] == ["initializers", "0", "->", "0", "bytes"]
    assert lines[-1] == ["nodes", "4", "->", "2", "(Constants", "beside:", "0", "->", "0)"]


@pytest.mark.parametrize("command", ["attribute", "hierarchy", "inspect", "optimize", "strip"])
def test_a_command_for_a_file_loads_neither_torch_nor_sympy(command, model, tmp_path):
    program = """
import sys
from pytest_modelcheck.__main__ import main
assert main(sys.argv[1:]) == 0
assert not {"torch", "sympy", "onnxruntime"} & set(sys.modules)
"""
    files = [str(model), *([str(tmp_path / "out.onnx")] if command in ("optimize", "strip") else [])]
    ran = subprocess.run([sys.executable, "-c", program, command, *files], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_what_is_lost_without_each_pass_is_a_column_where_it_was_asked_for(model, capsys):
    assert main(["attribute", str(model), "--leave-one-out"]) == 0
    lines = rows(capsys)
    assert lines[0][:6] == ["pass", "alone", "in", "order", "without", "it"]
    assert ["eliminate_dead_nodes", "-1", "-1", "-1"] in [line[:4] for line in lines]


def test_attribute_takes_the_passes_to_run_and_counts_for_machines(model, capsys):
    assert main(["attribute", str(model), "--passes", "eliminate_dead_nodes, fuse_gelu", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in figures["passes"]] == ["eliminate_dead_nodes", "fuse_gelu"]
    assert figures["nodes"]["after"] == 3
    assert figures["operators"]["after"] == {"Abs": 1, "Identity": 1, "Relu": 1}
    assert figures["initializer_bytes"] == {"before": 0, "after": 0}
    assert figures["passes"][0]["operators"] == {"Neg": -1}
    assert figures["passes"][0]["leave_one_out"] is None


def test_the_default_pipeline_and_other_optimizers_stand_in_one_list(model, capsys):
    names = ",".join(pass_.name for pass_ in FOREIGN_PASSES)
    assert main(["attribute", str(model), "--passes", names, "--passes", "default", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)  # and nothing of what they print themselves
    assert [row["name"] for row in figures["passes"]] == [*map(pass_name, (*FOREIGN_PASSES, *PASSES))]
    assert {row["name"]: row["isolated"] for row in figures["passes"]}["onnxslim"] == -2
    assert "graph transformers that fired" in figures["passes"][4]["notes"][0]


def test_what_a_pass_prints_is_not_in_our_output(model, tmp_path, monkeypatch):
    (tmp_path / "chatty.py").write_text(
        "import os\ndef chatty(model):\n    print('hello')\n    os.write(1, b'hello from C')\n    return model\n"
    )
    command = [sys.executable, "-m", "pytest_modelcheck", "attribute", str(model), "--passes", "chatty:chatty"]
    done = subprocess.run([*command, "--json"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["passes"][0]["status"] == "no_op"
    assert "hello" in done.stderr
    assert "hello from C" in done.stderr


def test_a_pass_that_fails_is_exit_status_1_with_its_reason(model, tmp_path, capsys, monkeypatch):
    (tmp_path / "broken_passes.py").write_text("def broken(model):\n    raise ValueError('mine')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["attribute", str(model), "--passes", "broken_passes:broken"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["broken", "error", "error", "0", "0", lines[1].split()[-2], "error"]
    assert lines[2] == "broken: ValueError: mine"
    assert main(["optimize", str(model), "--passes", "broken_passes:broken"]) == 2
    assert capsys.readouterr().err == "error: broken: ValueError: mine\n"
    assert not model.with_name("model.optimized.onnx").exists()


def test_optimize_writes_the_result_beside_the_file_or_where_it_is_told(model, tmp_path, capsys):
    assert main(["optimize", str(model)]) == 0
    written = model.with_name("model.optimized.onnx")
    assert [node.op_type for node in onnx.load(written).graph.node] == ["Relu", "Abs"]
    assert capsys.readouterr().out == f"{written}: 4 -> 2 nodes\n"
    other = tmp_path / "deep" / "small.onnx"
    assert main(["optimize", str(model), str(other), "--passes", "onnxslim", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "file": str(other),
        "nodes": {"before": 4, "after": 2},
        "warnings": [],
    }
    assert len(onnx.load(other).graph.node) == 2


def test_inspect_says_what_a_file_holds_and_that_nobody_owns_its_nodes(model, capsys):
    assert main(["inspect", str(model), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["operators"] == {"Abs": 1, "Identity": 1, "Neg": 1, "Relu": 1}
    assert figures["coverage"] == 0
    assert "no node names a module" in figures["reason"]


def test_inspect_prints_the_interface_and_the_operators(model, capsys):
    assert main(["inspect", str(model)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:11] == [
        "input: x float32 [2]",
        "output: y float32 [2]",
        "opset: ai.onnx 20",
        "ir version: 10",
        "files: one",
        "initializers: -",
        "metadata: -",
        "operators of: ai.onnx",
        "unread inputs: -",
        "nodes named: -",
        "weights named: -",
    ]
    assert lines[11] == "nodes: 4, and 0 Constants"
    assert lines[12].startswith("owners: 0.0% of the compute nodes (no node names a module: ")


def test_diff_of_equal_files_has_nothing_to_say(model, capsys):
    assert main(["diff", str(model), str(model)]) == 0
    assert capsys.readouterr().out == "no difference\n"


WEIGHTED = "<float[2] w = {1, 2}, float[1] e = {0.5}> { a = Mul(x, w) b = Add(a, e) y = Relu(b) }"


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        (WEIGHTED, WEIGHTED.replace("Relu", "Tanh"), ["modules", "  (no module): -1 Relu, +1 Tanh"]),
        (WEIGHTED, WEIGHTED.replace("0.5", "0.25"), [
            "modules", "  (no module): Add(#1 0.5 -> 0.25)", "weights", "  1 with different values: e"
        ]),
        (WEIGHTED, WEIGHTED.replace("w = {1, 2}", "v = {1, 2}").replace("(x, w)", "(x, v)"), [
            "weights", "  1 renamed: w -> v"
        ]),
        (WEIGHTED, WEIGHTED.replace("float[1] e = {0.5}", "float[2] e = {0.5, 1}"), [
            "interface", "  initializers of float32 now take 16 B (were 12 B, +33 %)",
            "modules", "  (no module): Add(#1 0.5 -> 0.5|1)",
            "weights", "  1 of a different type or shape: e float[1] -> float[2]",
        ]),
        (WEIGHTED, "<float[1] e = {0.5}> { a = Mul(x, x) b = Add(a, e) y = Relu(b) }", [
            "interface", "  initializers of float32 now take 4 B (were 12 B, -67 %)",
            "modules", "  (no module): +1 Mul, -1 Mul(#1=1|2)", "weights", "  1 gone: w",
        ]),
        ("{ a = Relu(x) b = Tanh(a) y = Sub(a, b) }", "{ a = Relu(x) b = Tanh(a) y = Sub(b, a) }", [
            "wiring", "  output `y`: the same operators, wired differently"
        ]),
        ("{ a = Relu(x) b = Tanh(x) y = Sub(a, b) }", "{ b = Tanh(x) a = Relu(x) y = Sub(a, b) }", [
            "wiring", "  node 0 is Tanh instead of Relu"
        ]),
    ],
)  # fmt: skip
def test_diff_says_what_differs_with_exit_status_1(tmp_path, capsys, before, after, lines):
    files = [save(tmp_path, body, name) for body, name in ((before, "a.onnx"), (after, "b.onnx"))]
    assert main(["diff", *map(str, files)]) == 1
    assert capsys.readouterr().out.splitlines() == lines


def test_diff_says_the_wiring_beside_another_opset_and_not_for_an_input_that_was_renamed(tmp_path, capsys):
    path = save(tmp_path, "{ a = Relu(x) b = Tanh(a) y = Sub(a, b) }", "a.onnx")
    swapped, renamed = onnx.load(path), onnx.load(path)
    swapped.opset_import[0].version = 21
    swapped.graph.node[2].input[:] = ["b", "a"]
    onnx.save(swapped, tmp_path / "swapped.onnx")
    assert main(["diff", str(path), str(tmp_path / "swapped.onnx")]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "interface", "  opset of ai.onnx is now 21 (was 20)",
        "wiring", "  output `y`: the same operators, wired differently",
    ]  # fmt: skip
    renamed.graph.input[0].name = renamed.graph.node[0].input[0] = "image"
    onnx.save(renamed, tmp_path / "renamed.onnx")
    assert main(["diff", str(path), str(tmp_path / "renamed.onnx")]) == 1
    assert capsys.readouterr().out.splitlines() == ["interface", "  input `x` is now `image`"]


def test_diff_says_first_what_whoever_runs_the_model_must_know(model, tmp_path, capsys):
    other = onnx.load(model)
    other.opset_import[0].version = 21
    other.graph.output[0].name = other.graph.node[-1].output[0] = "scores"
    onnx.save(other, tmp_path / "other.onnx")
    assert main(["diff", str(model), str(tmp_path / "other.onnx"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "interface": ["output `y` is now `scores`", "opset of ai.onnx is now 21 (was 20)"],
        "modules": [],
        "weights": [],
        "wiring": [],
    }


def matmul(op="MatMul", domain="", *, imports=(("", 18),), weight=None, **attributes):
    """One node named ``my_node`` over a weight of 48 bytes."""
    if weight is None:
        weight = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    node = helper.make_node(op, ["x", "w"], ["y"], name="my_node", domain=domain, **attributes)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])
    made = helper.make_model(helper.make_graph([node], "g", [x], [y], [weight]), ir_version=10)
    del made.opset_import[:]
    made.opset_import.extend(helper.make_opsetid(*entry) for entry in imports)
    return made


def weight_in(location):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "48"}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.mark.parametrize("command", ["optimize", "attribute", "inspect"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"this is no protobuf", "bad.onnx: is not an ONNX model: "),
        (b"", "bad.onnx is empty: it has no node and no output"),
        (
            matmul(axis=1),
            "Unrecognized attribute: axis for operator MatMul ==> Context: Bad node spec for node. Name: my_",
        ),
        (
            matmul("MatMull"),
            "No Op registered for MatMull with domain_version of 18 ==> Context: Bad node spec for node. N",
        ),
        (
            matmul(domain="my.own"),
            "No opset import for domain 'my.own' ==> Context: Bad node spec for node. Name: my_node",
        ),
        (
            matmul(imports=(("my.own", 1),)),
            "No opset import for domain '' ==> Context: Bad node spec for node. Name: my_n",
        ),
        (
            matmul(imports=()),
            "bad.onnx does not pass onnx.checker: model with IR version >= 3 must specify opset_import",
        ),
        (matmul(weight=weight_in("none.data")), "bad.onnx: initializer 'w' needs {folder}/none.data, which does not e"),
        (matmul(weight=weight_in("../outside.data")), "bad.onnx: initializer 'w' points outside the model's folder: "),
        (matmul(weight=weight_in("/etc/hostname")), "initializer 'w' points outside the model's folder: /etc/hostname"),
        (matmul(weight=weight_in("short.data")), "initializer 'w' ends beyond the end of {folder}/short.data"),
    ],
    ids=lambda value: None if isinstance(value, bytes | onnx.ModelProto) else value[:40],
)
def test_a_bad_model_is_one_line_with_its_node_or_file_and_nothing_is_written(tmp_path, capsys, command, bad, message):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "outside.data").write_bytes(bytes(48))
    (folder / "short.data").write_bytes(bytes(47))
    path = folder / "bad.onnx"
    path.write_bytes(bad if isinstance(bad, bytes) else bad.SerializeToString())
    before = sorted(folder.iterdir())
    assert main([command, str(path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert message.format(folder=folder) in line
    assert str(path) in line
    assert sorted(folder.iterdir()) == before


def test_an_operator_of_an_imported_domain_is_no_error(tmp_path, capsys):
    path = tmp_path / "own.onnx"
    path.write_bytes(matmul(domain="my.own", imports=(("", 18), ("my.own", 1))).SerializeToString())
    assert main(["optimize", str(path)]) == 0
    assert capsys.readouterr().out.endswith(": 1 -> 1 nodes\n")


def test_bad_arguments_are_one_line_and_exit_status_2(tmp_path, model, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxsim" else found(name))
    for arguments, message in [
        (["attribute", str(tmp_path / "none.onnx")], "none.onnx: no such file"),
        (["attribute", str(tmp_path)], "no such file"),
        (["attribute", str(model), "--passes", "eliminate_dead_node"], "did you mean 'eliminate_dead_nodes'?"),
        (
            ["attribute", str(model), "--passes", "onnxsim"],
            "needs the package onnxsim, which is not installed; pip inst",
        ),
        (["optimize", str(model), "--passes", " , "], "--passes names no pass"),
    ]:
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert message in error
    assert list(tmp_path.iterdir()) == [model]


def test_a_place_that_cannot_be_written_leaves_what_is_there(model, tmp_path, capsys):
    (tmp_path / "file").write_text("old")
    assert main(["optimize", str(model), str(tmp_path / "file" / "out.onnx")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert (tmp_path / "file").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model.onnx"]


def test_a_model_may_be_optimized_in_its_place(model):
    assert main(["optimize", str(model), str(model)]) == 0
    assert [node.op_type for node in onnx.load(model).graph.node] == ["Relu", "Abs"]


def test_the_version_is_that_of_the_installed_package(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"pytest-modelcheck {metadata.version('pytest-modelcheck')}\n"
