"""The experiments' tables: what they count, and that nothing is missing from them in silence."""

import onnx_ir as ir
import pytest

from examples.experiments import measure, quantization, strategy_guide
from examples.experiments.pass_order import Orders
from examples.experiments.rows import MissingRowError, measured_rows, read_rows, signed, table, wanted_rows, write_rows
from examples.experiments.size_and_nodes import changes, correlation
from examples.experiments.yolo_transposes import adjacent
from examples.experiments.zoo_table import BEGIN, END, latency_line, replaced, zoo_table


def row(model="bert-base", exporter="dynamo", **changed):
    made = {
        "model": model,
        "exporter": exporter,
        "attribution": {"nodes": [100, 75], "bytes": [2000, 1000], "passes": []},
        "accuracy": {"passed": True, "pairs": [{"scaled": [1e-7, 3e-6]}]},
        "hierarchy": {"coverage": 0.9951},
        "fusion": {"qkv": 11, "attention_layers": 12},
        "latency": {"ratio": 1.0304, "interval": [1.02, 1.04]},
    }
    return made | changed


FAILED = {"model": "bert-base", "exporter": "torchscript", "failure": {"kind": "unsupported_operator", "reason": "x"}}


def test_a_row_of_the_readme_holds_every_figure():
    cells = zoo_table([row(), row(exporter="torchscript")]).splitlines()[2].strip("| ").split(" | ")
    assert cells[:5] == ["bert-base", *["100 -> 75 (-25%)"] * 2, "-50.0%", "x1.030 [1.020, 1.040]"]
    assert cells[5:] == ["3.0e-06", "99.5% / 99.5%", "11/12"]


def test_a_failed_export_and_a_failed_figure_stand_in_their_cells():
    cells = zoo_table([row(latency={"error": "no session"}, fusion={"error": "no capture"}), FAILED]).splitlines()[2]
    assert "export failed: unsupported_operator" in cells
    assert "| error |" in cells
    assert "| no capture |" in cells


def test_what_was_not_measured_says_so():
    bare = row()
    del bare["accuracy"], bare["latency"]
    assert zoo_table([bare, FAILED]).count("not measured") == 2


def test_both_ends_of_the_latencies_are_told_and_how_many_are_missing():
    slow = row("gpt2", latency={"ratio": 0.97, "interval": [0.95, 0.99]})
    failed = row("vgg16", latency={"error": "no session"})
    assert latency_line([row(), slow, failed, FAILED]) == (
        "Latency over 2 exports: slowest gpt2 by dynamo with x0.970 [0.950, 0.990], fastest bert-base by dynamo with "
        "x1.030 [1.020, 1.040]; 1 not measured."
    )
    assert latency_line([row()]).endswith("x1.030 [1.020, 1.040].")


def test_a_difference_that_is_no_number_is_never_a_small_one():
    assert "| nan |" in zoo_table([row(accuracy={"passed": False, "pairs": [{"scaled": ["nan", 1e-9]}]}), FAILED])


def test_the_guide_takes_the_exporter_that_leaves_fewer_nodes_and_never_a_failed_one():
    kinds = {"hierarchy": {"kinds": {"direct": 95, "inherited": 5, "root": 0}}}
    dynamo, torchscript = row(**kinds), row(exporter="torchscript", **kinds)
    assert strategy_guide.exporter(dynamo, torchscript) == "either: the same number of nodes"
    torchscript["attribution"] = {"nodes": [100, 80]}
    assert strategy_guide.exporter(dynamo, torchscript) == "dynamo: 5 fewer nodes"
    dynamo["attribution"] = {"nodes": [100, 90]}
    assert strategy_guide.exporter(dynamo, torchscript) == "torchscript: 10 fewer nodes"
    assert strategy_guide.exporter(dynamo, FAILED) == "dynamo: torchscript fails with unsupported_operator"
    assert strategy_guide.exporter(FAILED | {"exporter": "dynamo"}, torchscript).startswith("torchscript: dynamo fails")
    assert strategy_guide.strategy(dynamo) == "precise (95%)"
    dynamo["hierarchy"]["kinds"]["root"] = 1
    assert strategy_guide.strategy(dynamo) == "broad (94%)"
    assert strategy_guide.strategy(FAILED) == "-"
    assert "| bert-base | dynamo: torchscript fails" in strategy_guide.guide([dynamo, FAILED])


def test_the_table_stands_between_the_markers_and_nothing_else_changes():
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert replaced(text, []).startswith(f"before\n{BEGIN}\n\n| model |")
    assert replaced(text, []).endswith(f" |\n\nNo latency was measured.\n\n{END}\nafter\n")
    assert replaced(text, [], ["gpt2", "vgg16"]).endswith(f".\n\nNot measured: gpt2, vgg16.\n\n{END}\nafter\n")
    with pytest.raises(ValueError, match=r"must hold <!-- zoo table: begin -->"):
        replaced("no markers", [])


def test_rows_are_kept_and_a_missing_one_names_the_command_that_measures_it(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == {}
    write_rows({("bert-base", "torchscript"): FAILED, ("bert-base", "dynamo"): row()}, path)
    rows = read_rows(path)
    assert [*rows] == [("bert-base", "dynamo"), ("bert-base", "torchscript")]
    assert wanted_rows(rows, "attribution", ["bert-base"]) == [row(), FAILED]
    with pytest.raises(MissingRowError, match=r"measure --parts attribution resnet50:dynamo resnet50:torchscript$"):
        wanted_rows(rows, "attribution", ["resnet50"])
    with pytest.raises(MissingRowError, match="not measured: bert-base:dynamo; run"):
        wanted_rows(rows, "nothing", ["bert-base"])


def test_a_model_is_measured_once_both_exporters_are():
    rows, absent = measured_rows({("bert-base", "dynamo"): row(), ("bert-base", "torchscript"): FAILED})
    assert rows == [row(), FAILED]
    assert len(absent) == 32
    assert "bert-base" in measured_rows({("bert-base", "dynamo"): row()})[1]
    half = row()
    del half["accuracy"]
    assert "bert-base" in measured_rows({("bert-base", "dynamo"): half, ("bert-base", "torchscript"): FAILED})[1]


def test_the_cells_of_a_table():
    assert table(["a", "b"], [["x", 1]]) == "| a | b |\n| --- | ---: |\n| x | 1 |\n"
    assert [signed(value) for value in (None, 0, 3, -72)] == ["error", "0", "+3", "-72"]


def test_a_correlation_needs_three_points_and_two_sides_that_vary():
    assert correlation([(1, 2), (2, 4), (3, 6)]) == pytest.approx(1)
    assert correlation([(1, 6), (2, 4), (3, 2)]) == pytest.approx(-1)
    assert correlation([(1, 2), (2, 4)]) is None
    assert correlation([(1, 2), (2, 2), (3, 2)]) is None


def test_a_pass_that_changes_neither_nodes_nor_bytes_is_no_point_of_the_correlation():
    def passes(*deltas):
        return {"passes": [{"name": "p", "in_order": n, "bytes_before": 10, "bytes_after": 10 + b} for n, b in deltas]}

    rows = [{"attribution": passes((-3, 0))}, {"attribution": passes((0, 0))}, {"attribution": passes((0, 5))}, FAILED]
    assert changes(rows) == {"p": [(-3, 0), (0, 5)]}


def graph(body):
    return ir.from_onnx_text(f'<ir_version: 10, opset_import: ["" : 18]> g (float[2,3,4] x) => (float y) {{ {body} }}')


@pytest.mark.parametrize(
    ("perms", "expected"),
    [(("0,2,1", "0,2,1"), (1, 0)), (("1,2,0", "2,0,1"), (1, 0)), (("1,2,0", "1,2,0"), (0, 1)), (("0,2,1",), (0, 0))],
)
def test_a_pair_of_transposes_cancels_exactly_if_it_gives_back_its_input(perms, expected):
    names = ["x", *(f"t{i}" for i in range(len(perms) - 1)), "y"]
    lines = [f"{names[i + 1]} = Transpose<perm=[{perm}]>({names[i]})" for i, perm in enumerate(perms)]
    assert adjacent(graph(" ".join(lines))) == expected


@pytest.mark.parametrize("part", measure.PARTS)
def test_a_kept_figure_depends_on_code_that_exists(part):
    assert len(measure.code_digest(part)) == 16


def test_code_that_is_not_there_has_no_digest():
    with pytest.raises(FileNotFoundError, match="gone"):
        measure.rooms_digest(("graph", "gone"))


def test_orders_count_the_nodes_after_each_sequence():
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[2,3] x) => (float[2,3] y) '
        "{ a = Identity(x) b = Relu(a) y = Neg(b) unused = Sigmoid(x) }"
    )
    orders = Orders(model)
    assert orders.nodes(()) == 4
    assert orders.change((), "eliminate_dead_nodes") == -1
    assert orders.nodes(("eliminate_dead_nodes", "eliminate_identity_ops")) == 2


def test_quantized_files_are_compared_where_every_variant_was_made_and_failures_are_counted():
    def of(model, variant, **figures):
        return {"model": model, "exporter": "dynamo", "variant": variant, "tool": "static", **figures}

    rows = [
        of(model, variant, sqnr=sqnr, in_float=2, size=30.0)
        for model, sqnr in (("bert", 20.0), ("vit", 30.0))
        for variant in quantization.VARIANTS
    ]
    rows += [of("swin", "raw", why="no rank"), *(of("swin", variant, sqnr=1.0) for variant in ("onnxslim", "portable"))]
    lines = quantization.summary(rows).splitlines()
    assert lines[2] == "| static | raw | 2 | 1 | 25.0 | 2.0 | 30.0 |"
    assert lines[3] == "| static | onnxslim | 2 | 0 | 25.0 | 2.0 | 30.0 |"
    assert lines[-1] == "| static | raw | swin | dynamo | no rank |"
