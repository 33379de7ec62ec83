"""Owners through a pipeline: which pass lost how many, and which modules it changed."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.attribution import attribute
from pytest_modelcheck.export import Exported
from pytest_modelcheck.hierarchy import HierarchyReport, PipelineHierarchy, StageWatch, stamp
from pytest_modelcheck.model_case import EXPORTERS, Exporter
from tests.exported_models import exported, report


def bert(exporter: Exporter) -> tuple[Exported, HierarchyReport]:
    return exported("bert", exporter), report("bert", exporter)


def forgetful(model: onnx.ModelProto) -> onnx.ModelProto:
    """As other people's optimizers: what nodes carry goes, names too; and the graph changes."""
    for index, node in enumerate(model.graph.node):
        del node.metadata_props[:]
        node.name = f"n{index}"
    return turned(model)


def turned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Puts a Transpose pair behind the first Softmax, and says nothing about it."""
    nodes = list(model.graph.node)
    softmax = next(node for node in nodes if node.op_type == "Softmax")
    inner = softmax.output[0]
    softmax.output[0] = "turned_0"
    index = nodes.index(softmax)
    order = [0, 1, 3, 2]
    pair = [
        onnx.helper.make_node("Transpose", ["turned_0"], ["turned_1"], perm=order),
        onnx.helper.make_node("Transpose", ["turned_1"], [inner], perm=order),
    ]
    del model.graph.node[:]
    model.graph.node.extend([*nodes[: index + 1], *pair, *nodes[index + 1 :]])
    return model


def seen(exporter: Exporter, *passes: object) -> PipelineHierarchy:
    made, report = bert(exporter)
    watch = StageWatch(report.calls)
    attribute(stamp(made.model, report), passes=passes or None, leave_one_out=False, watch=watch)  # type: ignore[arg-type]
    return watch.result()


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_our_pipeline_loses_no_owner(exporter: Exporter) -> None:
    owners = seen(exporter)
    assert owners.start.coverage == 1.0
    assert [stage.coverage for stage in owners.passes] == [1.0] * len(owners.passes)
    assert sum(stage.unowned for stage in owners.passes) == 0


def test_the_pass_that_forgets_everything_is_the_one_that_lost_it() -> None:
    owners = seen("dynamo", "eliminate_identity_ops", forgetful, "eliminate_dead_nodes")
    nodes = owners.start.nodes
    assert owners.lost(0) == 0
    assert owners.lost(1) == nodes + 2
    assert owners.lost(2) == 0
    assert owners.passes[1].deduced + owners.passes[1].unowned == nodes + 2
    assert owners.passes[1].coverage > 0.95


def test_a_pass_that_changes_one_module_is_said_to_change_that_one() -> None:
    owners = seen("dynamo", "eliminate_identity_ops", turned)
    assert owners.passes[0].changes == ()
    assert owners.passes[1].changes == ("encoder.layer.0.attention.self: +2 Transpose",)
    assert owners.lost(1) == 2
    assert owners.passes[1].coverage == 1.0


def test_the_tables_of_both_ends_are_kept() -> None:
    owners = seen("torchscript")
    assert owners.before.nodes > owners.after.nodes > 0
    assert owners.before.by_path.keys() == owners.after.by_path.keys()


def test_a_watch_that_saw_nothing_says_so() -> None:
    with pytest.raises(ValueError, match="no stage was seen"):
        StageWatch(None).result()


def test_an_empty_model_has_coverage_0() -> None:
    watch = StageWatch(None)
    watch(0, ir.from_onnx_text('<ir_version: 10, opset_import: ["" : 18]>\ng (float[2] x) => (float[2] x) {}'))
    assert watch.result().start.coverage == 0.0
