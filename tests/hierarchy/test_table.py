"""The module op table: rows, text both ways, changed variants, diffs in the words of modules."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.hierarchy import (
    ModuleRow,
    ModuleTable,
    changed_modules,
    diff_tables,
    hierarchy,
    hierarchy_of_model,
    module_table,
    parse,
    render,
    without_values,
)
from pytest_modelcheck.hierarchy.node_labels import UNKNOWN, Weights, node_label, node_labels, sketch
from pytest_modelcheck.hierarchy.recorded_calls import case_calls
from pytest_modelcheck.hierarchy.scopes import NAME_SCOPES_KEY
from pytest_modelcheck.model_case import EXPORTERS, Exporter
from tests.exported_models import exported, report
from tests.hierarchy.test_folded_rows import PATHS
from tests.structure_models import bert_case, module_case

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
def bert(exporter: Exporter) -> ModuleTable:
    return module_table(exported("bert", exporter).model, report("bert", exporter))


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_table_of_a_real_export_is_reversible_and_counts_every_node_but_names_of_weights(
    exporter: Exporter,
) -> None:
    table = bert(exporter)
    assert parse(render(table)) == table
    made = exported("bert", exporter)
    assert table.nodes == sum(
        1 for node in made.model.graph.all_nodes() if node.op_type not in ("Constant", "Identity")
    )


def test_an_identity_of_a_weight_is_left_out_and_one_of_data_counts() -> None:
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 20]>\n'
        "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { a = Identity (w) b = Identity (x) y = Add (a, b) }"
    )
    table = module_table(model, hierarchy_of_model(model))
    assert render(table) == "(no module): Add 1, Identity 1\n"


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


def one(label: str, count: int = 1) -> ModuleRow:
    return ModuleRow("a", "M", ((label, count),))


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (None, ModuleRow("a", "Identity", ()), "a: new (Identity): -"),
        (ModuleRow("a", "Linear", (("Gemm", 1),)), None, "a: gone (was Linear: Gemm 1)"),
        (ModuleRow("a", "GELU", ()), ModuleRow("a", "SiLU", ()), "a: GELU became SiLU"),
        (ModuleRow("a", "M", (("Add", 2),)), ModuleRow("a", "M", (("Mul", 1), ("Add", 1))), "a: -1 Add, +1 Mul"),
        (ModuleRow(None, "", (("Add", 1),)), ModuleRow(None, "", (("Add", 3),)), "(no module): +2 Add"),
        (ModuleRow("", "M", (("Add", 1),)), ModuleRow("", "M", (("Add", 2),)), "(root): +1 Add"),
        (one("Div(#1=8)"), one("Div(#1=4)"), "a: Div(#1 8 -> 4)"),
        (one("Div(#1=8)", 2), one("Div(#1=4)", 2), "a: Div(#1 8 -> 4) x2"),
        (
            one("Norm(axis=1;epsilon=1e-12)"),
            one("Norm(axis=2;epsilon=1e-05)"),
            ("a: Norm(axis 1 -> 2; epsilon 1e-12 -> 1e-05)"),
        ),
        (one("Norm(epsilon=1e-12)"), one("Norm"), "a: +1 Norm, -1 Norm(epsilon=1e-12)"),
        (one("Div(#1=8)"), one("Mul(#1=8)"), "a: -1 Div(#1=8), +1 Mul(#1=8)"),
    ],
)
def test_a_change_is_one_line(before: ModuleRow | None, after: ModuleRow | None, line: str) -> None:
    tables = [ModuleTable.of([row] if row else []) for row in (before, after)]
    assert diff_tables(*tables) == (line,)


@pytest.mark.parametrize(
    ("old", "new", "equal"),
    [
        ("Div(#1=2.828427)", "Div(#1=2.8284273)", True),  # the last bit of a square root
        ("Div(#1=2.828427)", "Div(#1=2.82844)", False),
        ("Div(#1=8)", "Div(#1=9)", False),
        ("ConstantOfShape(value=-inf)", "ConstantOfShape(value=-10000)", False),
        ("Clip(#1=0;#2=6)", "Clip(#1=0;#2=6)", True),
        ("Gather(#1=100000000)", "Gather(#1=100000001)", False),  # whole numbers are exact
    ],
)
def test_constants_may_differ_by_rounding_only(old: str, new: str, equal: bool) -> None:
    tables = [ModuleTable.of([one(label)]) for label in (old, new)]
    assert (diff_tables(*tables) == ()) is equal


@given(TABLES)
def test_equal_tables_have_no_difference(table: ModuleTable) -> None:
    assert diff_tables(table, table) == ()


@given(TABLES, TABLES)
def test_different_tables_have_a_difference(before: ModuleTable, after: ModuleTable) -> None:
    assert bool(diff_tables(before, after)) == (before != after)


def test_the_former_format_has_text_attributes_only() -> None:
    labels = ("Cast(to=float16)", "Clip(#1=0;#2=6)", "Gelu(approximate=tanh)", "Resize(mode=linear;#2=1|1|2|2)")
    table = ModuleTable.of([ModuleRow("a", "M", tuple((label, 1) for label in (*labels, "Clip(#1=1;#2=6)")))])
    assert render(without_values(table)) == "a (M): Cast 1, Clip 2, Gelu(approximate=tanh) 1, Resize(mode=linear) 1\n"


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
        ("Softmax <axis = 1> (x)", "Softmax(axis=1)"),
        ("Softmax <axis = -1> (x)", "Softmax"),
        ("Concat <axis = 1> (x)", "Concat"),  # the axis of a layout operator
        ("Transpose <perm = [1, 0]> (x)", "Transpose"),
        ("Trilu <upper = 0> (x)", "Trilu(upper=0)"),
        ("MaxPool <kernel_shape = [3, 3], pads = [0, 0, 0, 0], strides = [1, 1]> (x)", "MaxPool(kernel_shape=3|3)"),
        (
            "AveragePool <kernel_shape = [3], pads = [1, 1], strides = [2]> (x)",
            ("AveragePool(kernel_shape=3;pads=1|1;strides=2)"),
        ),
        ("LayerNormalization <epsilon = 1e-12> (x, x)", "LayerNormalization(epsilon=1e-12)"),
        ("LayerNormalization <epsilon = 1e-5> (x, x)", "LayerNormalization"),
        ("Elu <alpha = 0.1> (x)", "Elu(alpha=0.1)"),
        ("Cast <to = 10> (x)", "Cast(to=float16)"),
        ("Cast <to = 11> (x)", "Cast(to=double)"),
        ("Cast <to = 1> (x)", "Cast"),
        ("Cast <to = 7> (x)", "Cast"),
        ("ConstantOfShape <value = float[1] {-3.5}> (x)", "ConstantOfShape(value=-3.5)"),
        ("ConstantOfShape <value = float[1] {0}> (x)", "ConstantOfShape"),
        ('LSTM <direction = "reverse", hidden_size = 4> (x)', "LSTM(direction=reverse)"),
        ('RNN <activations = ["Relu"]> (x)', "RNN(activations=Relu)"),
        ("GRU <hidden_size = 4, linear_before_reset = 1> (x)", "GRU(linear_before_reset=1)"),
        ("GridSample <align_corners = 1> (x, x)", "GridSample(align_corners=1)"),
        ("GridSample <align_corners = 0> (x, x)", "GridSample"),
        ("Mod <fmod = 1> (x, x)", "Mod(fmod=1)"),
        ("IsInf <detect_negative = 0> (x)", "IsInf(detect_negative=0)"),
        ("BatchNormalization <momentum = 0.5, training_mode = 1> (x)", "BatchNormalization(training_mode=1)"),
        ("ReduceSum <keepdims = 0> (x)", "ReduceSum"),  # layout
        ("Gemm <alpha = 0.5, transB = 1> (x, x)", "Gemm(alpha=0.5)"),  # how a weight is stored
    ],
)
def test_a_label_carries_the_attributes_that_differ_from_the_default(node: str, expected: str) -> None:
    assert label(node) == expected


def constant_label(text: str, weights: Weights = UNKNOWN) -> str:
    """The label of the last node of a graph of float[N] x."""
    model = ir.from_onnx_text(
        f'<ir_version: 10, opset_import: ["" : 20]>\ng (float[N] x) => (float[M] y) {text.replace("y = ", "y = ", 1)}'
    )
    return node_labels(model, weights)[model.graph[-1]]


KNOWN = Weights.of({"w": 3, "big": 8})


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ("<float c = {8}> { y = Div (x, c) }", "Div(#1=8)"),
        ("<float c = {2.8284271}> { y = Div (c, x) }", "Div(#0=2.828427)"),
        ("<float[4] c = {1, 0.1, 0.01, 0.001}> { y = Mul (x, c) }", "Mul(#1=1|0.1|0.01|0.001)"),
        ("{ c = Constant <value_float = 0.5> () y = Mul (x, c) }", "Mul(#1=0.5)"),
        ("{ c = Constant <value_ints = [0]> () y = Gather (x, c) }", "Gather(#1=0)"),
        ("<int64[1] a = {1}, int64[1] b = {9223372036854775807}> { y = Slice (x, a, b) }", "Slice(#1=1;#2=max)"),
        ("<int64[1] k = {5}> { y, i = TopK (x, k) }", "TopK(#1=5)"),
        ("<float a = {0}, float b = {6}> { y = Clip (x, a, b) }", "Clip(#1=0;#2=6)"),
        ("<int64[1] c = {1}> { y = Reshape (x, c) }", "Reshape"),  # layout
        ("<int64 c = {1}> { y = Add (x, c) }", "Add(#1=1)"),
        ("<bool c = {1}> { y = Where (c, x, x) }", "Where(#0=true)"),
    ],
)
def test_small_constants_are_written_out_in_the_fewest_digits(graph: str, expected: str) -> None:
    assert constant_label(graph) == expected
    assert constant_label(graph, KNOWN) == expected


@pytest.mark.parametrize(
    ("graph", "unknown", "known"),
    [
        ("<float w = {8}> { y = Mul (x, w) }", "Mul(#1=8)", "Mul"),  # a logit scale
        ("<float[2] w = {1, 2}> { y = PRelu (x, w) }", "PRelu", "PRelu"),
        ("<float[2,2] w = {1, 2, 3, 4}> { y = Gemm (x, w) }", "Gemm", "Gemm"),
        ("<float[8] t = {1, 2, 3, 4, 5, 6, 7, 8}> { y = Mul (x, t) }", "Mul", "Mul"),  # may be `big`, folded
        ("<float[5] t = {1, 1, 1, 1, 1}> { y = Mul (x, t) }", "Mul", "Mul(#1=float32[5]~1:0.4472:-1.342)"),
        ("<int64[5] t = {1, 1, 1, 1, 1}> { y = Gather (x, t) }", "Gather", "Gather(#1=int64[5]:54955e74)"),
    ],
)
def test_weights_are_left_out_and_computed_tables_sketched(graph: str, unknown: str, known: str) -> None:
    assert constant_label(graph) == unknown
    assert constant_label(graph, KNOWN) == known


def test_nodes_that_only_compute_shapes_show_no_constants() -> None:
    graph = (
        "<int64 i = {0}, int64[1] a = {0}> { s = Shape (x) n = Gather (s, i) u = Unsqueeze (n, a) y = Reshape (x, u) }"
    )
    model = ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 20]>\ng (float[N] x) => (float[M] y) {graph}')
    assert list(node_labels(model).values()) == ["Reshape", "Shape", "Gather", "Unsqueeze"]


SKETCHED = [0.1, -0.2, 0.3, 0.4, 0.5, -0.6]


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (SKETCHED, ""),
        ([item * (1 + 1e-6) for item in SKETCHED], ""),  # another machine's cosine
        ([item * 1.01 for item in SKETCHED], "changed"),
        (SKETCHED[::-1], "changed"),
        ([-item for item in SKETCHED], "changed"),
        ([0.1, -0.2, 0.3, 0.4, 0.5, float("-inf")], "changed"),
    ],
)
def test_a_sketch_survives_rounding_and_nothing_else(now: list[float], line: str) -> None:
    tables = [
        ModuleTable.of([ModuleRow("rope", "Rope", ((f"Mul(#1={sketch(np.float32(values))})", 1),))])
        for values in (SKETCHED, now)
    ]
    found = diff_tables(*tables)
    assert len(found) == (1 if line else 0)
    if line:
        assert found[0].startswith("rope: Mul(#1 float32[6]~0.3894")


def test_a_number_that_became_a_table_is_a_change() -> None:
    before, after = (
        ModuleTable.of([ModuleRow("rope", "Rope", ((f"Mul(#1={value})", 1),))])
        for value in ("0.5", sketch(np.ones(5, np.float32)))
    )
    assert diff_tables(before, after) == ("rope: Mul(#1 0.5 -> float32[5]~1:0.4472:-1.342)",)
    assert diff_tables(after, before) == ("rope: Mul(#1 float32[5]~1:0.4472:-1.342 -> 0.5)",)


def test_a_sketch_of_a_mask_counts_what_is_masked() -> None:
    mask = np.triu(np.full((3, 3), np.finfo(np.float32).min), 1)
    assert sketch(mask).startswith("float32[3|3]~0:0:0!3.")
    assert sketch(mask) != sketch(mask.T)


def test_a_label_of_an_unknown_domain_keeps_its_domain_and_every_text() -> None:
    text = """<ir_version: 10, opset_import: ["" : 20, "my.ops" : 1]>
    g (float[N] x) => (float[N] y) { y = my.ops.F <m = "a b,c"> (x) }"""
    model = ir.from_onnx_text(text)
    assert node_label(model.graph[0], model) == "my.ops:F(m=a\\20;b\\2c;c)"


def test_numbers_of_an_operator_that_nobody_knows_are_shown_and_long_lists_sketched() -> None:
    """A tree ensemble holds what it learned in attributes, not in initializers."""

    def shown(splits: list[float]) -> str:
        node = ir.node("Trees", [], {"limit": 0.5, "roots": [0, 3], "splits": splits}, domain="my.ops")
        return node_label(node, ir.Model(ir.Graph([], [], nodes=[node], opset_imports={"my.ops": 1}), ir_version=10))

    assert shown([1.0] * 12) == f"my.ops:Trees(limit=0.5;roots=0|3;splits={'|'.join(['1'] * 12)})"
    assert shown([1.0] * 13).startswith("my.ops:Trees(limit=0.5;roots=0|3;splits=float32[13]~1:")
    assert shown([1.0] * 13) != shown([1.0] * 12 + [2.0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "line 1 is not a row of a module table"),
        ("a: Add 1\nb [x: Add 1", "line 2 is not a row of a module table"),
        ("layer.[0-2] x2: Add 1", "stands for 3 modules, not 2"),
        ("layer.[0-2]: Add 1", "stands for 3 modules"),
        ("a: Add", "is not an operator with a count"),
        ("a: Add 1\na: Mul 1", "'a' has two rows"),
    ],
)
def test_text_that_is_no_table_is_refused_by_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        parse(text)


def test_rows_of_a_shared_layer_count_all_its_calls() -> None:
    made = exported("albert", "dynamo")
    row = module_table(made.model, report("albert", "dynamo")).by_path[
        "encoder.albert_layer_groups.0.albert_layers.0.attention"
    ]
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


def test_changed_modules_are_those_that_the_diff_names_with_both_sides():
    before = ModuleTable.of(
        [
            *(ModuleRow(f"layers.{n}.act", "GELU", (("Gelu", 1),)) for n in range(3)),
            ModuleRow("norm", "LayerNorm", (("LayerNormalization(epsilon=1e-05)", 1),)),
            ModuleRow("pooler", "Pooler", (("Gather", 1),)),
        ]
    )
    after = ModuleTable.of(
        [
            *(ModuleRow(f"layers.{n}.act", "ReLU", (("Relu", 2),)) for n in range(3)),
            ModuleRow("norm", "LayerNorm", (("LayerNormalization(epsilon=1e-05)", 1),)),
        ]
    )
    assert changed_modules(before, before) == []
    assert changed_modules(before, after) == [
        {
            "path": "layers.[0-2].act",
            "was": {"class_name": "GELU", "ops": [["Gelu", 1]]},
            "now": {"class_name": "ReLU", "ops": [["Relu", 2]]},
        },
        {"path": "pooler", "was": {"class_name": "Pooler", "ops": [["Gather", 1]]}, "now": None},
    ]


@pytest.mark.parametrize("written", ["", "kernel_shape = [3, 5], "])
def test_the_kernel_of_a_conv_is_shown_whether_the_file_writes_it_or_leaves_it_to_the_weight(written):
    model = ir.from_onnx_text(
        f"""<ir_version: 8, opset_import: ["" : 17]> g (float[1,2,8,8] x, float[4,2,3,5] w) => (float[1,4,8,8] y)
        {{ y = Conv <{written}pads = [1, 2, 1, 2]> (x, w) }}"""
    )
    assert node_label(model.graph[0], model) == "Conv(kernel_shape=3|5;pads=1|2|1|2)"
