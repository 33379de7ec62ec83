"""Reading the exporter's own words: dynamo's metadata, torchscript's node names."""

import onnx_ir as ir
import pytest

from pytest_modelcheck.hierarchy import ModuleCalls
from pytest_modelcheck.hierarchy.scopes import NAME_SCOPES_KEY, Scopes, parse_scopes


def calls_with(stacks: dict[tuple[str, ...], int]) -> ModuleCalls:
    paths = dict.fromkeys(path for stack in stacks for path in stack)
    return ModuleCalls(classes=dict.fromkeys(paths, "M"), stacks=stacks, counts=dict.fromkeys(paths, 1))


def named(name: str) -> ir.Node:
    return ir.node("Relu", [], name=name)


def labelled(scopes: str) -> ir.Node:
    return ir.node("Relu", [], metadata_props={NAME_SCOPES_KEY: scopes})


TREE = Scopes.of(
    calls_with(
        {
            ("",): 1,
            ("", "encoder"): 1,
            ("", "encoder", "encoder.layer.0"): 1,
            ("", "encoder", "encoder.layer.0", "encoder.layer.0.mlp"): 1,
            ("", "encoder", "encoder.layer.0", "encoder.layer.0.mlp", "encoder.layer.0.mlp.1"): 1,
            ("", "shared"): 3,
            ("", "naïve/α"): 1,
        }
    )
)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/Add", ""),
        ("/encoder/Add_1", "encoder"),
        ("/encoder/layer.0/MatMul", "encoder.layer.0"),
        ("/encoder/layer.0/mlp/mlp.1/Relu", "encoder.layer.0.mlp.1"),  # the child of a called Sequential
        ("/shared/Add", "shared"),
        ("/shared_1/Add", "shared"),  # the second of three calls
        ("/shared_2/Add", "shared"),
        ("/naïve/α/Add", "naïve/α"),
    ],
)
def test_a_torchscript_name_gives_the_path_of_its_scope(name: str, path: str) -> None:
    assert TREE.direct_owner(named(name)) == path


@pytest.mark.parametrize(
    "name",
    ["Add", "", "Identity_7", "/unknown/Add", "/encoder/layer.1/Add", "/shared_3/Add", "/encoder_1/Add", "encoder/Add"],
)
def test_a_name_that_is_no_scope_of_this_tree_gives_nothing(name: str) -> None:
    assert TREE.direct_owner(named(name)) is None


def test_a_scope_text_that_two_modules_could_have_gives_nothing() -> None:
    scopes = Scopes.of(calls_with({("",): 1, ("", "a.x.0"): 1, ("", "b.x.0"): 1, ("", "b.x.1"): 1}))
    assert scopes.direct_owner(named("/x.0/Add")) is None
    assert scopes.direct_owner(named("/x.1/Add")) == "b.x.1"


def test_a_second_call_that_reads_like_another_module_gives_nothing() -> None:
    scopes = Scopes.of(calls_with({("",): 1, ("", "layer"): 2, ("", "layer_1"): 1}))
    assert scopes.direct_owner(named("/layer_1/Add")) is None
    assert scopes.direct_owner(named("/layer/Add")) == "layer"


@pytest.mark.parametrize(
    ("listed", "path"),
    [
        ("['', 'add']", ""),
        ("['', 'encoder', 'encoder.layer.0', 'linear']", "encoder.layer.0"),
        ("['', 'shared@1', 'linear_1']", "shared"),
    ],
)
def test_dynamo_metadata_gives_the_last_scope_before_the_operator(listed: str, path: str) -> None:
    assert TREE.direct_owner(labelled(listed)) == path


@pytest.mark.parametrize(
    "listed", ["", "[]", "['add']", "not a list", "['', 1]", "{'a': 1}", "['', 'gone', 'add']", "[" * 300]
)
def test_metadata_that_cannot_be_read_or_names_no_module_gives_nothing(listed: str) -> None:
    assert TREE.direct_owner(labelled(listed)) is None


def test_without_a_module_tree_metadata_is_taken_at_its_word_and_names_are_not() -> None:
    scopes = Scopes.of(None)
    assert scopes.direct_owner(labelled("['', 'anything', 'add']")) == "anything"
    assert scopes.direct_owner(named("/encoder/Add")) is None


def test_scopes_are_parsed_as_literals_and_never_evaluated() -> None:
    assert parse_scopes("__import__('os').getcwd()") == ()
