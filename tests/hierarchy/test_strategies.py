"""The two strategies, each alone, and the one that is recommended."""

from __future__ import annotations

from functools import cache

import onnx_ir as ir
import pytest

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.hierarchy import HierarchyReport, StrategyName, hierarchy, hierarchy_of_model
from pytest_modelcheck.hierarchy.recorded_calls import case_calls
from pytest_modelcheck.hierarchy.scopes import NAME_SCOPES_KEY
from pytest_modelcheck.model_case import EXPORTERS, Exporter
from tests import exported_models

TEXT = """<ir_version: 10, opset_import: ["" : 18]>
g (float[2] x) => (float[2] y) {
    a = Relu (x)
    b = Neg (a)
    y = Abs (b)
}"""


LONGER = TEXT.replace("y = Abs (b)", "c = Exp (b)\n    y = Abs (c)")


def graph(*scopes: str | None) -> ir.Model:
    """The three nodes of `TEXT` or the four of `LONGER`, labelled; None leaves one bare."""
    model = ir.from_onnx_text(TEXT if len(scopes) == 3 else LONGER)
    for node, scope in zip(model.graph, scopes, strict=True):
        if scope is not None:
            node.metadata_props[NAME_SCOPES_KEY] = repr(["", scope, "op"])
    return model


@cache
def report(exporter: Exporter, strategy: StrategyName) -> HierarchyReport:
    made = exported_models.exported("bert", exporter)
    return hierarchy(made, calls=case_calls(made.case), strategy=strategy)


def test_the_precise_strategy_deduces_nothing_and_falls_back_to_nothing() -> None:
    found = hierarchy_of_model(graph("m", None, "m"), strategy="precise")
    assert dict(found.kinds) == {"direct": 2, "inherited": 0, "root": 0, "none": 1}
    assert found.owner("b") is None
    assert (found.strategy, found.why) == ("precise", "asked for")


def test_the_broad_strategy_deduces_what_stands_between_two_nodes_of_one_module() -> None:
    found = hierarchy_of_model(graph("m", None, "m"), strategy="broad")
    assert dict(found.kinds) == {"direct": 2, "inherited": 1, "root": 0, "none": 0}
    owner = found.owner("b")
    assert owner is not None
    assert (owner.path, owner.kind, owner.how) == ("m", "inherited", "surroundings")
    assert dict(found.evidence) == {"exporter": 2, "surroundings": 1}


@pytest.mark.parametrize(("last", "kind"), [("m", "inherited"), ("n", "root")])
def test_bare_nodes_that_read_each_other_count_as_one(last: str, kind: str) -> None:
    found = hierarchy_of_model(graph("m", None, None, last), strategy="broad")
    assert found.kinds[kind] == 2
    assert {str(owner.kind) for name in "bc" if (owner := found.owner(name))} == {kind}


def test_auto_is_precise_where_every_node_is_named() -> None:
    found = hierarchy_of_model(graph("m", "m", "m"))
    assert found.strategy == "precise"
    assert found.why == "the exporter names 3 of 3 compute nodes; deduction would find nothing more"


def test_auto_is_broad_where_a_node_is_not_named_and_says_what_that_adds() -> None:
    found = hierarchy_of_model(graph("m", None, "m"))
    assert found.strategy == "broad"
    assert found.why == "the exporter names 2 of 3 compute nodes; deduction finds 1 of the other 1 nodes"


def test_auto_is_broad_where_what_is_left_can_only_fall_back_to_the_root() -> None:
    found = hierarchy_of_model(graph("one", None, "two"))
    assert found.kinds["root"] == 1
    assert found.why == "the exporter names 2 of 3 compute nodes; deduction finds 0 of the other 1 nodes"


def test_auto_on_a_bare_graph_says_that_nothing_can_be_found() -> None:
    found = hierarchy_of_model(graph(None, None, None))
    assert found.coverage == 0
    assert (found.strategy, found.why) == ("broad", "no node names its module; and nothing follows")


def test_modules_that_were_folded_into_others_are_a_reason_for_the_broad_strategy() -> None:
    made = exported_models.exported("resnet", "torchscript")
    found = exported_models.report("resnet", "torchscript")
    assert found.strategy == "broad"
    assert "modules that were folded into another's node" in found.why
    assert hierarchy(made, strategy="precise").modules_uncovered != ()
    assert found.modules_uncovered == ()


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_precise_alone_covers_a_real_export_and_never_names_a_deduction(exporter: Exporter) -> None:
    found = report(exporter, "precise")
    assert found.coverage >= 0.99
    assert set(found.evidence) == {"exporter"}


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_broad_keeps_every_direct_owner_of_precise(exporter: Exporter) -> None:
    precise, broad = report(exporter, "precise"), report(exporter, "broad")
    assert broad.coverage >= precise.coverage
    assert {key: (owner.path, owner.kind) for key, owner in precise.owners.items()}.items() <= {
        key: (owner.path, owner.kind) for key, owner in broad.owners.items()
    }.items()


def test_an_unknown_strategy_is_an_error_that_names_the_others() -> None:
    with pytest.raises(OptionError, match="strategy 'hpt' is unknown; choose one of auto, precise, broad"):
        hierarchy_of_model(graph("m", "m", "m"), strategy="hpt")  # type: ignore[arg-type]
