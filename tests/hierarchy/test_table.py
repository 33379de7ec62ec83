"""The module op table: rows, text both ways, changed variants, diffs in the words of modules."""

from __future__ import annotations

from functools import cache

import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.hierarchy.test_folding import PATHS
from torch import nn

from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.hierarchy import (
    ModuleRow,
    ModuleTable,
    case_calls,
    diff_tables,
    hierarchy,
    hierarchy_of_model,
    module_table,
    parse,
    render,
)
from pytest_modelcheck.hierarchy.scopes import NAME_SCOPES_KEY
from pytest_modelcheck.hierarchy.table import node_label
from pytest_modelcheck.model_case import EXPORTERS, Exporter
from tests.structure_models import albert_case, bert_case, module_case

WORDS = st.text(max_size=6)
LABELS = st.text(
    st.characters(blacklist_characters=", ", blacklist_categories=("Cs", "Zs", "Cc", "Zl", "Zp")), min_size=1
)
ROWS = st.builds(
    lambda path, class_name, ops: ModuleRow(path, class_name, tuple(sorted(ops.items()))),
    PATHS | st.none(),
    WORDS | st.sampled_from(["Linear", "LayerNorm"]),
    st.dictionaries(LABELS, st.integers(1, 99), max_size=3),
)
TABLES = st.lists(ROWS, max_size=12, unique_by=lambda row: row.path).map(ModuleTable.of)


@given(TABLES)
def test_a_rendered_table_parses_to_the_same_table(table: ModuleTable) -> None:
    assert parse(render(table)) == table


def table_of(module: nn.Module, *shapes: tuple[int, ...], exporter: Exporter = "dynamo") -> ModuleTable:
    made = export(module_case(module.eval(), *shapes, exporter=exporter))
    assert isinstance(made, Exported), made.render()
    return module_table(made.model, hierarchy(made))


@cache
def bert(exporter: Exporter, layers: int = 2) -> ModuleTable:
    made = export(bert_case(exporter, layers=layers))
    assert isinstance(made, Exported), made.render()
    return module_table(made.model, hierarchy(made))


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_table_of_a_real_export_is_reversible_and_counts_every_node(exporter: Exporter) -> None:
    table = bert(exporter)
    assert parse(render(table)) == table
    made = export(bert_case(exporter))
    assert isinstance(made, Exported)
    assert table.nodes == sum(1 for node in made.model.graph.all_nodes() if node.op_type != "Constant")


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_equal_layers_are_one_row_with_their_count(exporter: Exporter) -> None:
    assert "encoder.layer.[0-1].output.LayerNorm (LayerNorm) x2: " in render(bert(exporter))


def test_an_inserted_identity_shows_although_it_owns_no_node() -> None:
    before = table_of(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), (2, 4))
    after = table_of(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Identity()), (2, 4))
    assert diff_tables(before, after) == ("2: new (Identity): -",)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_changed_activation_variant_shows(exporter: Exporter) -> None:
    before = table_of(nn.Sequential(nn.Linear(4, 4), nn.GELU()), (2, 4), exporter=exporter)
    after = table_of(nn.Sequential(nn.Linear(4, 4), nn.GELU(approximate="tanh")), (2, 4), exporter=exporter)
    lines = diff_tables(before, after)
    assert len(lines) == 1
    assert lines[0].startswith("1: ")
    assert "anh" in lines[0]


def test_one_transpose_in_one_layer_of_twelve_names_exactly_that_layer() -> None:
    case = bert_case(layers=12)
    calls = case_calls(case)
    made = export(case)
    assert isinstance(made, Exported), made.render()
    model = made.model
    before = module_table(model, hierarchy_of_model(model, calls))
    target = next(
        node
        for node in model.graph
        if node.op_type == "Softmax" and "encoder.layer.3.attention.self" in node.metadata_props[NAME_SCOPES_KEY]
    )
    extra = ir.node("Transpose", [target.inputs[0]])
    extra.outputs[0].name = "extra"
    model.graph.insert_before(target, extra)
    target.replace_input_with(0, extra.outputs[0])
    after = module_table(model, hierarchy_of_model(model, calls))
    assert diff_tables(before, after) == ("encoder.layer.3.attention.self: +1 Transpose",)


def test_the_same_change_in_every_layer_is_one_line() -> None:
    rows = [ModuleRow(f"layer.{i}.attention", "A", (("MatMul", 2),)) for i in range(12)]
    more = [ModuleRow(row.path, "A", (*row.ops, ("Transpose", 2))) for row in rows]
    lines = diff_tables(ModuleTable.of(rows), ModuleTable.of(more))
    assert lines == ("layer.[0-11].attention: +2 Transpose each (x12)",)


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (None, ModuleRow("a", "Identity", ()), "a: new (Identity): -"),
        (ModuleRow("a", "Linear", (("Gemm", 1),)), None, "a: gone (was Linear: Gemm 1)"),
        (ModuleRow("a", "GELU", ()), ModuleRow("a", "SiLU", ()), "a: GELU became SiLU"),
        (ModuleRow("a", "M", (("Add", 2),)), ModuleRow("a", "M", (("Mul", 1), ("Add", 1))), "a: -1 Add, +1 Mul"),
        (ModuleRow(None, "", (("Add", 1),)), ModuleRow(None, "", (("Add", 3),)), "(no module): +2 Add"),
        (ModuleRow("", "M", (("Add", 1),)), ModuleRow("", "M", (("Add", 2),)), "(root): +1 Add"),
    ],
)
def test_a_change_is_one_line(before: ModuleRow | None, after: ModuleRow | None, line: str) -> None:
    tables = [ModuleTable.of([row] if row else []) for row in (before, after)]
    assert diff_tables(*tables) == (line,)


@given(TABLES)
def test_equal_tables_have_no_difference(table: ModuleTable) -> None:
    assert diff_tables(table, table) == ()


@given(TABLES, TABLES)
def test_different_tables_have_a_difference(before: ModuleTable, after: ModuleTable) -> None:
    assert bool(diff_tables(before, after)) == (before != after)


def label(text: str, opset: int = 20) -> str:
    model = ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : {opset}]>\ng (float[N] x) => (float[N] y) {{ y = {text} }}'
    )
    return node_label(model.graph[0], model)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("Relu (x)", "Relu"),
        ('Gelu <approximate = "tanh"> (x)', "Gelu(approximate=tanh)"),
        ('Gelu <approximate = "none"> (x)', "Gelu"),  # the default, spelled out
        ("Softmax <axis = 1> (x)", "Softmax"),  # numbers are layout, not a variant
        ('LSTM <direction = "reverse", hidden_size = 4> (x)', "LSTM(direction=reverse)"),
        ('RNN <activations = ["Relu"]> (x)', "RNN(activations=Relu)"),
    ],
)
def test_a_label_carries_the_text_attributes_that_differ_from_the_default(node: str, expected: str) -> None:
    assert label(node) == expected


def test_a_label_of_an_unknown_domain_keeps_its_domain_and_every_text() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "my.ops" : 1]>
    g (float[N] x) => (float[N] y) { y = my.ops.F <m = "a b,c"> (x) }"""
    model = ir.from_onnx_text(text)
    assert node_label(model.graph[0], model) == "my.ops:F(m=a\\20;b\\2c;c)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "line 1 is no row"),
        ("a: Add 1\nb [x: Add 1", "line 2 is no row"),
        ("layer.[0-2] x2: Add 1", "stands for 3 modules, not 2"),
        ("layer.[0-2]: Add 1", "stands for 3 modules"),
        ("a: Add", "no operator with a count"),
        ("a: Add 1\na: Mul 1", "'a' has two rows"),
    ],
)
def test_text_that_is_no_table_is_refused_by_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        parse(text)


def test_rows_of_a_shared_layer_count_all_its_calls() -> None:
    made = export(albert_case())
    assert isinstance(made, Exported), made.render()
    row = module_table(made.model, hierarchy(made)).by_path["encoder.albert_layer_groups.0.albert_layers.0.attention"]
    assert dict(row.ops)["Softmax"] == 3


def test_renaming_a_local_variable_changes_nothing() -> None:
    class First(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            intermediate = x * 2
            return intermediate + 1

    class Second(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            renamed = x * 2
            return renamed + 1

    before, after = table_of(First(), (2, 4)), table_of(Second(), (2, 4))
    assert [row.ops for row in before.rows] == [row.ops for row in after.rows]
