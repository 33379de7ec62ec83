"""Owners of nodes through a rewrite."""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.metadata import CONTRIBUTORS_KEY, KIND_KEY, OWNER_KEY, contributors, merge_metadata


def owned(owner: str | None, kind: str = "direct", **more: str) -> ir.Node:
    stamps = {} if owner is None else {OWNER_KEY: owner, KIND_KEY: kind}
    return ir.node("Relu", [], metadata_props=stamps | more)


def merged(*replaced: ir.Node) -> ir.Node:
    created = ir.node("Relu", [])
    merge_metadata(replaced, [created])
    return created


def test_the_first_node_is_the_primary_and_all_owners_are_listed() -> None:
    node = merged(owned("conv"), owned("norm"), owned("conv"))
    assert node.metadata_props[OWNER_KEY] == "conv"
    assert contributors(node) == ("conv", "norm")


def test_one_owner_needs_no_list() -> None:
    node = merged(owned("conv"), owned("conv"))
    assert CONTRIBUTORS_KEY not in node.metadata_props
    assert contributors(node) == ("conv",)


def test_owners_that_were_merged_before_are_kept() -> None:
    node = merged(merged(owned("a"), owned("b")), merged(owned("c"), owned("a")))
    assert contributors(node) == ("a", "b", "c")


def test_a_node_with_an_owner_goes_before_one_that_fell_back_to_the_root() -> None:
    node = merged(owned("", "root"), owned("norm"))
    assert (node.metadata_props[OWNER_KEY], node.metadata_props[KIND_KEY]) == ("norm", "direct")
    assert contributors(node) == ("norm",)


def test_the_root_module_as_a_direct_owner_is_an_owner() -> None:
    assert contributors(merged(owned(""), owned("norm"))) == ("", "norm")


def test_a_node_without_metadata_is_passed_over() -> None:
    assert contributors(merged(owned(None), owned("norm"))) == ("norm",)


def test_nothing_is_written_where_nothing_was_known() -> None:
    assert dict(merged(owned(None)).metadata_props) == {}


def test_what_a_created_node_says_itself_is_kept() -> None:
    created = ir.node("Relu", [], metadata_props={"note": "mine"})
    merge_metadata([owned("a", note="theirs", other="x")], [created])
    assert created.metadata_props["note"] == "mine"
    assert created.metadata_props["other"] == "x"
