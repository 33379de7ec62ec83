"""``python -m pytest_modelcheck hierarchy`` and ``strip``."""

import json

import onnx_ir as ir
import pytest

from pytest_modelcheck.__main__ import main
from pytest_modelcheck.hierarchy.scopes import NAME_SCOPES_KEY

TEXT = """<ir_version: 10, opset_import: ["" : 20]>
g (float[2] x) => (float[2] y) { a = Relu(x) b = Neg(a) y = Abs(b) }"""


@pytest.fixture
def model(tmp_path):
    made = ir.from_onnx_text(TEXT)
    for node, scope in zip(made.graph, ("block", "block", "head"), strict=True):
        node.metadata_props[NAME_SCOPES_KEY] = repr(["", scope, "op"])
    path = tmp_path / "model.onnx"
    ir.save(made, path)
    return path


def test_hierarchy_prints_the_tree_the_coverage_and_the_strategy(model, capsys):
    assert main(["hierarchy", str(model)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "(root)   3",
        "  block  2",
        "  head   1",
        "",
        "coverage  100.0% of 3 compute nodes (direct 3, inherited 0, root 0, none 0)",
        "strategy  precise: the exporter names 3 of 3 compute nodes; deduction would find nothing more",
        "from      exporter 3",
    ]


def test_hierarchy_for_machines_takes_a_strategy_and_a_depth(model, capsys):
    assert main(["hierarchy", str(model), "--strategy", "broad", "--depth", "0", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["strategy"], figures["why"], figures["tree"]) == ("broad", "asked for", ["(root)  3"])


def test_a_stripped_file_has_no_owners_until_its_sidecar_lies_beside_it(model, capsys):
    released = model.with_name("released.onnx")
    assert main(["strip", str(model), str(released)]) == 0
    assert b"name_scopes" not in released.read_bytes()
    assert main(["hierarchy", str(released)]) == 0
    out = capsys.readouterr().out
    assert "coverage  0.0% of 3 compute nodes (direct 0, inherited 0, root 0, none 3)" in out
    assert "because   no node names a module" in out
    assert main(["strip", str(model), str(released), "--sidecar"]) == 0
    assert b"name_scopes" not in released.read_bytes()
    assert main(["hierarchy", str(released)]) == 0
    out = capsys.readouterr().out
    assert "coverage  100.0% of 3 compute nodes (direct 3, inherited 0, root 0, none 0)" in out
    assert f"sidecar   {released.with_suffix('.hierarchy.json')}\nfrom      sidecar 3\n" in out


def test_a_sidecar_that_is_none_is_an_error(model, tmp_path, capsys):
    (tmp_path / "other.json").write_text("{}")
    assert main(["hierarchy", str(model), "--sidecar", str(tmp_path / "other.json")]) == 2
    assert "is not a hierarchy sidecar" in capsys.readouterr().err
    assert main(["hierarchy", str(model), "--sidecar", str(tmp_path / "missing.json")]) == 2
    assert "missing.json" in capsys.readouterr().err
