"""The tree of modules: counts of everything inside, repeated layers once."""

from pytest_modelcheck.hierarchy import ModuleRow, ModuleTable
from pytest_modelcheck.hierarchy.module_tree import module_tree, tree_lines
from pytest_modelcheck.report.terminal import summary_lines


def rows(layers, *, transposes=0, odd=None):
    yield ModuleRow("", "Bert", (("Add", 1),))
    yield ModuleRow("embeddings", "Embeddings", (("Gather", 2),))
    yield ModuleRow("encoder", "Encoder", ())
    for index in range(layers):
        extra = transposes + (1 if index == odd else 0)
        yield ModuleRow(f"encoder.layer.{index}", "Layer", ())
        yield ModuleRow(f"encoder.layer.{index}.attention", "Attention", (("MatMul", 2), ("Transpose", 3 + extra)))
        yield ModuleRow(f"encoder.layer.{index}.dense", "Linear", (("Gemm", 1),))


def test_equal_layers_are_one_line_with_the_count_of_each():
    before, after = ModuleTable.of(rows(12, transposes=2)), ModuleTable.of(rows(12))
    assert tree_lines(before, after) == [
        "(root) (Bert)                 99 -> 75",
        "  embeddings (Embeddings)      2 -> 2",
        "  encoder (Encoder)           96 -> 72",
        "    layer.[0-11] (Layer) x12   8 -> 6 each",
        "      attention (Attention)    7 -> 5",
        "      dense (Linear)           1 -> 1",
    ]


def test_a_layer_that_differs_has_a_line_of_its_own():
    lines = tree_lines(ModuleTable.of(rows(4, odd=2)), depth=2)
    assert lines[3:] == ["    layer.[0-1,3] (Layer) x3   6 each", "    layer.2 (Layer)            7"]


def test_the_depth_cuts_what_is_shown_and_not_what_is_counted():
    table = ModuleTable.of(rows(12))
    assert tree_lines(table, depth=0) == ["(root) (Bert)  75"]
    assert module_tree(table, table).before == table.nodes


def test_nodes_without_a_module_stand_apart_at_the_end():
    table = ModuleTable.of(
        [ModuleRow("", "M", ()), ModuleRow("a", "A", (("Add", 1),)), ModuleRow(None, "", (("Mul", 2),))]
    )
    assert tree_lines(table) == ["(root) (M)     3", "  a (A)        1", "  (no module)  2"]


def test_a_module_that_came_or_went_counts_nothing_on_the_other_side():
    before = ModuleTable.of([ModuleRow("", "M", ()), ModuleRow("old", "A", (("Add", 1),))])
    after = ModuleTable.of([ModuleRow("", "M", ()), ModuleRow("new", "B", (("Mul", 3),))])
    assert tree_lines(before, after) == ["(root) (M)  1 -> 3", "  new (B)   0 -> 3", "  old (A)   1 -> 0"]


def test_nested_layers_fold_inside_folded_layers():
    stages = (f"stages.{s}.layers.{layer}" for s in range(3) for layer in range(4))
    table = ModuleTable.of([ModuleRow("", "M", ()), *(ModuleRow(path, "Block", (("Conv", 2),)) for path in stages)])
    assert tree_lines(table) == [
        "(root) (M)                   24",
        "  stages.[0-2] x3             8 each",
        "    layers.[0-3] (Block) x4   2 each",
    ]


def test_names_with_brackets_and_parentheses_stay_readable():
    table = ModuleTable.of([ModuleRow("", "M", ()), ModuleRow("a[0] (x)", "Naïve", (("Add", 1),))])
    assert tree_lines(table)[1] == "  a\\5b;0\\5d;\\20;\\28;x\\29; (Naïve)  1"


def test_the_summary_shows_trees_only_where_it_is_asked_to():
    model = {"name": "bert", "exporter": "dynamo", "target": "portable", "versions": {}, "seconds": {}}
    row = {"test": "t", "outcome": "passed", "model": model | {"tree": ["(root)  1 -> 1"]}, "gates": [], "findings": []}
    assert summary_lines([row], verbose=True)[-2:] == [
        "modules of bert [dynamo], nodes exported -> optimized",
        "(root)  1 -> 1",
    ]
    assert not any("modules of" in line for line in summary_lines([row]))


def test_the_matrix_has_the_coverage_after_each_pass_and_what_the_pass_lost():
    passes = [
        {"name": name, "isolated": -1, "in_order": -1, "status": "fired", "leave_one_out": None, "reasons": []}
        for name in ("one", "two")
    ]
    owners = [
        {"name": "one", "coverage": 1.0, "lost": 0, "deduced": 0, "unowned": 0, "changes": []},
        {"name": "two", "coverage": 0.75, "lost": 3, "deduced": 0, "unowned": 3, "changes": []},
    ]
    nodes = {"before": 12, "after": 10, "constants_before": 0, "constants_after": 0}
    model = {
        "name": "m",
        "exporter": "dynamo",
        "target": "portable",
        "nodes": nodes,
        "passes": passes,
        "owners": owners,
    }
    row = {"test": "t", "outcome": "passed", "model": model, "gates": [], "findings": []}
    lines = summary_lines([row], verbose=True)
    assert any(line.startswith("nodes changed by each pass") and "coverage after it" in line for line in lines)
    assert [line.split("  ", 1)[1].strip() for line in lines if line.startswith(("one", "two"))] == [
        "-1 / -1  100.0%",
        "-1 / -1  75.0% (-3)",
    ]
