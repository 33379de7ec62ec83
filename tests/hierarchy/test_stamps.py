"""Owners written into a model: through passes, through a file, and off again."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime

from pytest_modelcheck.export import Exported
from pytest_modelcheck.graph.metadata import CONTRIBUTORS_KEY, KIND_KEY, OWNER_KEY, merge_metadata
from pytest_modelcheck.hierarchy import Owner, OwnerKind, hierarchy, hierarchy_of_model, stamp, strip
from tests.exported_models import exported

TEXT = """<ir_version: 10, opset_import: ["" : 18]>
g (float[2] x) => (float[2] y) {
    a = Relu (x)
    y = Neg (a)
}"""


def resnet() -> Exported:
    return exported("resnet", "torchscript")


def test_a_stamped_model_gives_the_same_report_without_the_exporters_names() -> None:
    model = resnet().model
    before = hierarchy(resnet())
    stamp(model, before)
    for index, node in enumerate(model.graph):
        node.name = f"n{index}"
    after = hierarchy_of_model(model, before.calls)
    assert dict(after.kinds) == dict(before.kinds)
    assert after.owners == before.owners


def test_stamps_survive_the_file_and_neither_the_checker_nor_onnxruntime_minds(tmp_path: Path) -> None:
    model = stamp(resnet().model, hierarchy(resnet()))
    path = tmp_path / "stamped.onnx"
    ir.save(model, path)
    onnx.checker.check_model(path)
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert any(OWNER_KEY in node.metadata_props for node in ir.load(path).graph)


def test_a_fused_node_owns_the_union_and_names_its_primary() -> None:
    model = ir.from_onnx_text(TEXT)
    first, second = model.graph
    for node, owner in ((first, "conv"), (second, "norm")):
        node.metadata_props.update({OWNER_KEY: owner, KIND_KEY: "direct"})
    fused = ir.node("Abs", [model.graph.inputs[0]])
    merge_metadata([first, second], [fused])
    second.replace_input_with(0, None)
    fused.outputs[0].name = "z"
    model.graph.insert_before(first, fused)
    model.graph.remove(first)
    assert hierarchy_of_model(model).owner("z") == Owner("conv", OwnerKind.DIRECT, ("norm",))


def test_a_root_fallback_that_was_stamped_does_not_become_a_fact() -> None:
    model = ir.from_onnx_text(TEXT)
    model.graph[0].metadata_props.update({OWNER_KEY: "", KIND_KEY: "root"})
    model.graph[1].metadata_props.update({OWNER_KEY: "", KIND_KEY: "direct"})
    found = hierarchy_of_model(model)
    assert found.kinds["direct"] == 1
    assert found.coverage == 0.5


def test_a_deduction_that_was_stamped_stays_a_deduction() -> None:
    model = ir.from_onnx_text(TEXT)
    for node in model.graph:
        node.metadata_props.update({OWNER_KEY: "a.b", KIND_KEY: "inherited"})
    assert dict(hierarchy_of_model(model).kinds) == {"direct": 0, "inherited": 2, "root": 0, "none": 0}


def test_strip_takes_off_every_stamp_and_nothing_else() -> None:
    model = ir.from_onnx_text(TEXT)
    model.graph[0].metadata_props.update({OWNER_KEY: "a", KIND_KEY: "direct", CONTRIBUTORS_KEY: '["a"]', "mine": "1"})
    strip(model)
    assert dict(model.graph[0].metadata_props) == {"mine": "1"}


def test_strip_for_a_release_takes_off_what_the_exporter_wrote_too(tmp_path: Path) -> None:
    made = exported("resnet", "dynamo")
    model = stamp(made.model, hierarchy(made))
    model.graph[0].metadata_props["mine"] = "1"
    model.graph[0].doc_string = "traced in /home/somebody/model.py"
    ir.save(strip(model, exporter=True), tmp_path / "released.onnx")
    written = (tmp_path / "released.onnx").read_bytes()
    for trace in (b"modelcheck.", b"pkg.torch", b"pkg.onnxscript", b"namespace", b"stack_trace", b"/home/somebody"):
        assert trace not in written
    assert dict(ir.load(tmp_path / "released.onnx").graph[0].metadata_props) == {"mine": "1"}


def test_strip_without_the_exporters_part_leaves_its_metadata() -> None:
    made = exported("resnet", "dynamo")
    model = strip(stamp(made.model, hierarchy(made)))
    assert all("pkg.torch.onnx.name_scopes" in node.metadata_props for node in model.graph)


def test_strip_reaches_into_branches_and_functions() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18, "f" : 1]>
    g (bool c, float[2] x) => (float[2] y) {
        y = If (c) <
            then_branch = one () => (float[2] t) { t = Relu (x) },
            else_branch = two () => (float[2] t) { t = f.same (x) }
        >
    }
    <domain: "f", opset_import: ["" : 18]>
    same (a) => (b) { b = Neg (a) }"""
    model = ir.from_onnx_text(text)
    nodes = [*model.graph.all_nodes(), *(node for body in model.functions.values() for node in body)]
    assert len(nodes) == 4
    for node in nodes:
        node.metadata_props.update({OWNER_KEY: "a", "pkg.torch.onnx.fx_node": "b", "namespace": "c"})
    strip(model, exporter=True)
    assert all(not node.metadata_props for node in nodes)


def test_values_of_one_name_in_two_branches_keep_their_own_owners() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (bool c, float[2] x) => (float[2] y) {
        y = If (c) <
            then_branch = one () => (float[2] t) { t = Relu (x) },
            else_branch = two () => (float[2] t) { t = Neg (x) }
        >
    }"""
    model = ir.from_onnx_text(text)
    owners = {"If": "switch", "Relu": "left", "Neg": "right"}
    for node in model.graph.all_nodes():
        node.metadata_props.update({OWNER_KEY: owners[node.op_type], KIND_KEY: "direct"})
    found = hierarchy_of_model(model)
    paths = {key: owner.path for key, owner in found.owners.items()}
    assert sorted(paths.values()) == ["left", "right", "switch"]
    assert {"t", "t#2"} < paths.keys()
    again = stamp(strip(model), found)
    assert dict(hierarchy_of_model(again).owners) == dict(found.owners)
