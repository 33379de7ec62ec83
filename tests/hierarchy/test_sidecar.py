"""The owners of a model in a file beside it, and back on what became of the model."""

from __future__ import annotations

import json
from pathlib import Path

import onnx_ir as ir
import pytest

from pytest_modelcheck.export import Exported
from pytest_modelcheck.hierarchy import (
    HierarchyReport,
    SidecarError,
    read_sidecar,
    reattach,
    sidecar_path,
    strip,
    write_sidecar,
)
from pytest_modelcheck.hierarchy.sidecar import fingerprint
from pytest_modelcheck.model_case import EXPORTERS, Exporter
from tests.exported_models import exported, report


def albert(exporter: Exporter) -> tuple[Exported, HierarchyReport]:
    return exported("albert", exporter), report("albert", exporter)


def test_the_sidecar_lies_beside_its_model() -> None:
    assert sidecar_path("models/bert.onnx") == Path("models/bert.hierarchy.json")


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_what_was_written_is_read_again(exporter: Exporter, tmp_path: Path) -> None:
    made, report = albert(exporter)
    found = read_sidecar(write_sidecar(tmp_path / "m.onnx", made.model, report))
    assert dict(found.owners) == dict(report.owners)
    assert found.calls == report.calls
    assert found.versions["torch"]
    assert found.statistics["coverage"] == report.coverage
    assert found.statistics["strategy"] == report.strategy


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_stripped_model_gets_its_owners_back_as_they_were(exporter: Exporter, tmp_path: Path) -> None:
    """The graph is the very same, so what was a fact is one again; node names and metadata are gone."""
    made, report = albert(exporter)
    sidecar = read_sidecar(write_sidecar(tmp_path / "m.onnx", made.model, report))
    released = strip(made.model, exporter=True)
    for index, node in enumerate(released.graph):
        node.name = f"n{index}"
    found = reattach(released, sidecar)
    assert dict(found.kinds) == dict(report.kinds)
    assert {key: owner.label for key, owner in found.owners.items()}.items() >= {
        key: owner.label for key, owner in report.owners.items() if owner.known
    }.items()
    assert set(found.evidence) == {"sidecar"}


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_in_another_graph_a_name_is_a_deduction_and_never_a_fact(exporter: Exporter, tmp_path: Path) -> None:
    made, report = albert(exporter)
    sidecar = read_sidecar(write_sidecar(tmp_path / "m.onnx", made.model, report))
    changed = strip(made.model, exporter=True)
    for index, node in enumerate(changed.graph):
        node.name = f"n{index}"
        if node.op_type == "Softmax":
            for output in node.outputs:
                output.name = f"renamed_{index}"
    assert fingerprint(changed) != sidecar.graph
    found = reattach(changed, sidecar)
    assert found.kinds["direct"] == 0
    assert found.coverage >= 0.95
    assert found.evidence["value name"] > found.evidence["order"] > 0
    assert reattach(changed, sidecar, strategy="precise").coverage == 0


def test_weights_and_attributes_are_no_part_of_the_fingerprint_and_connections_are() -> None:
    text = '<ir_version: 10, opset_import: ["" : 18]>\ng (float[2,2] x) => (float[2,2] y) { %s }'
    first = ir.from_onnx_text(text % "a = Softmax <axis = 0> (x) y = Add (a, x)")
    assert fingerprint(first) == fingerprint(ir.from_onnx_text(text % "a = Softmax <axis = 1> (x) y = Add (a, x)"))
    assert fingerprint(first) != fingerprint(ir.from_onnx_text(text % "a = Softmax <axis = 0> (x) y = Add (x, a)"))
    assert fingerprint(first) != fingerprint(ir.from_onnx_text(text % "a = Softmax <axis = 0> (x) y = Sub (a, x)"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", "is not a hierarchy sidecar: JSONDecodeError"),
        ("{}", "is not a hierarchy sidecar: KeyError: 'schema'"),
        ('{"schema": 99}', "schema 99; this version reads 1. Write it again."),
        ('{"schema": 1, "owners": {"a": {"path": "m", "kind": "sure"}}}', "is not a hierarchy sidecar: ValueError"),
        ("[]", "is not a hierarchy sidecar: TypeError"),
    ],
)
def test_a_file_that_is_no_sidecar_is_refused_by_name(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.hierarchy.json"
    path.write_text(content)
    with pytest.raises(SidecarError, match=message) as error:
        read_sidecar(path)
    assert str(path) in str(error.value)


def test_a_model_without_a_torch_module_has_a_sidecar_without_a_tree(tmp_path: Path) -> None:
    from pytest_modelcheck.hierarchy import hierarchy_of_model

    model = albert("dynamo")[0].model
    path = write_sidecar(tmp_path / "m.onnx", model, hierarchy_of_model(model))
    assert json.loads(path.read_text())["modules"] is None
    assert reattach(strip(model, exporter=True), read_sidecar(path)).coverage >= 0.99
