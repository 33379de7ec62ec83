"""Renamed modules: one line, and what else changed beside it."""

import pytest

from pytest_modelcheck.hierarchy import ModuleRow, ModuleTable, diff_tables


def layers(attention="attention", extra="", prefix="", count=2, kind="Attention"):
    rows = [ModuleRow(prefix.rstrip("."), "Net", (("Add", 1),))]
    if prefix:
        rows.append(ModuleRow("", "Outer", ()))
    for index in range(count):
        below = f"{prefix}layers.{index}"
        rows += [
            ModuleRow(f"{below}.{attention}", kind, (("MatMul", 2), ("Softmax", 1))),
            ModuleRow(f"{below}.{attention}.query", "Linear", (("MatMul", 1),)),
            ModuleRow(f"{below}.norm", "LayerNorm", (("Add", 2),) if extra else (("Add", 1),)),
        ]
    return ModuleTable.of(rows)


@pytest.mark.parametrize(
    ("after", "lines"),
    [
        (layers("self_attn"), ("layers.[0-1].attention -> self_attn, nothing else",)),
        (
            layers("self_attn", extra="Add"),
            ("layers.[0-1].attention -> self_attn", "layers.[0-1].norm: +1 Add each (x2)"),
        ),
        (layers(kind="Other"), ("layers.[0-1].attention: Attention became Other each (x2)",)),
    ],
)
def test_a_renamed_attribute_is_one_line(after, lines):
    assert diff_tables(layers(), after) == lines


def test_a_wrapper_around_the_model_is_a_rename_and_a_new_module():
    lines = diff_tables(layers(), layers(prefix="model."))
    assert lines == ("layers -> model.layers", "(root): Net became Outer, -1 Add", "model: new (Net): Add 1")
    lines = diff_tables(layers(prefix="model."), layers())
    assert lines == ("model.layers -> layers", "(root): Outer became Net, +1 Add", "model: gone (was Net: Add 1)")


def test_a_module_that_was_replaced_by_one_of_another_class_is_gone_and_new():
    before = ModuleTable.of([ModuleRow("act", "GELU", (("Gelu", 1),))])
    after = ModuleTable.of([ModuleRow("activation", "SiLU", (("Sigmoid", 1),))])
    assert diff_tables(before, after) == ("act: gone (was GELU: Gelu 1)", "activation: new (SiLU): Sigmoid 1")


def test_of_two_new_names_the_equal_module_is_the_renamed_one():
    before = ModuleTable.of([ModuleRow("a", "Linear", (("Gemm", 1),))])
    after = ModuleTable.of([ModuleRow("b", "Linear", (("Gemm", 2),)), ModuleRow("c", "Linear", (("Gemm", 1),))])
    assert diff_tables(before, after) == ("a -> c", "b: new (Linear): Gemm 2")
