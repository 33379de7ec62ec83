"""Owners after optimizers that know nothing of them: re-attached, and never called a fact that they are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxruntime
import onnxscript.optimizer
import pytest

from pytest_modelcheck.hierarchy import OwnerKind, hierarchy_of_model
from pytest_modelcheck.hierarchy.scopes import NAME_SCOPES_KEY
from pytest_modelcheck.model_case import EXPORTERS, Exporter
from pytest_modelcheck.pipeline import run_pipeline
from tests.exported_models import CASES, exported, report


def onnxruntime_basic(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(folder / "optimized.onnx")


def onnxscript_optimizer(model: onnx.ModelProto, _: Path) -> onnx.ModelProto:
    optimized = onnxscript.optimizer.optimize(model)
    assert isinstance(optimized, onnx.ModelProto)
    return optimized


def nothing_but_the_graph(model: onnx.ModelProto, _: Path) -> onnx.ModelProto:
    """As onnxslim and onnxsim leave it: no metadata, no node names, and values named by numbers."""
    renamed = ir.from_proto(model)
    for index, node in enumerate(renamed.graph.all_nodes()):
        node.name = f"n{index}"
        node.metadata_props.clear()
        for output in node.outputs:
            if not output.is_graph_output():
                output.name = f"v{index}_{output.index()}"
    return ir.to_proto(renamed)


OPTIMIZERS = [onnxruntime_basic, onnxscript_optimizer, nothing_but_the_graph]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", CASES)
def test_at_least_95_percent_are_re_attached(
    name: str, exporter: Exporter, optimizer: Callable[[onnx.ModelProto, Path], onnx.ModelProto], tmp_path: Path
) -> None:
    made, before = exported(name, exporter), report(name, exporter)
    model = ir.from_proto(optimizer(ir.to_proto(made.model), tmp_path))
    after = hierarchy_of_model(model, before.calls, before=before)
    assert after.coverage >= 0.95
    assert after.module_coverage >= 0.95


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_an_owner_that_was_re_attached_is_not_direct(exporter: Exporter, tmp_path: Path) -> None:
    made, before = exported("bert", exporter), report("bert", exporter)
    model = ir.from_proto(nothing_but_the_graph(ir.to_proto(made.model), tmp_path))
    after = hierarchy_of_model(model, before.calls, before=before)
    assert after.kinds["direct"] == 0
    assert Counter(owner.kind for owner in after.owners.values())[OwnerKind.DIRECT] == 0


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_re_attached_owners_are_those_of_before(exporter: Exporter, tmp_path: Path) -> None:
    """Only the names go, so every node's owner is known: at least 98 of 100 must be found again."""
    made, before = exported("bert", exporter), report("bert", exporter)
    blind = ir.from_proto(nothing_but_the_graph(ir.to_proto(made.model), tmp_path))
    after = hierarchy_of_model(blind, before.calls)
    pairs = [
        (before.owner(old.outputs[0].name or ""), after.owner(new.outputs[0].name or ""))
        for old, new in zip(made.model.graph, blind.graph, strict=True)
        if old.op_type != "Constant"
    ]
    direct = [(old, new) for old, new in pairs if old is not None and old.kind is OwnerKind.DIRECT]
    right = sum(1 for old, new in direct if new is not None and new.path in (old.path, *old.others))
    assert right >= 0.98 * len(direct)


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", CASES)
def test_our_own_pipeline_keeps_at_least_99_percent(name: str, exporter: Exporter) -> None:
    from pytest_modelcheck.hierarchy import stamp

    made, before = exported(name, exporter), report(name, exporter)
    optimized, _ = run_pipeline(stamp(made.model, before))
    after = hierarchy_of_model(optimized, before.calls)
    assert after.coverage >= 0.99
    assert after.modules_uncovered == ()


def test_a_model_of_which_nothing_is_left_has_no_coverage() -> None:
    made, before = exported("cross", "dynamo"), report("cross", "dynamo")
    model = made.model
    for node in model.graph:
        node.metadata_props.pop(NAME_SCOPES_KEY, None)
        node.op_type, node.domain = "Opaque", "vendor"
        node.name = ""
        for value in node.outputs:
            value.name = f"x_{value.name}"
    for name, value in list(model.graph.initializers.items()):
        value.name = f"w_{name}"
    after = hierarchy_of_model(model, before.calls, before=before)
    assert after.coverage == 0.0
