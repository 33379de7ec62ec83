"""The whole matrix, models x passes, and what the project promises of it, from snapshots and measurements: no torch."""

import os
import re
from pathlib import Path

import pytest

from examples.experiments import strategy_guide
from examples.experiments.readme_table import BEGIN, END, README, replaced
from examples.experiments.rows import measured_rows, read_rows, signed
from examples.zoo.declaring import EXPORTERS
from examples.zoo.registry import MODELS
from examples.zoo.selecting import FULL

SNAPSHOTS = Path(__file__).parents[1] / "snapshots" / "examples"
ROWS = read_rows()
KEYS = [(model.name, exporter) for model in MODELS for exporter in EXPORTERS]
MEASURED = [(row["model"], row["exporter"]) for row in measured_rows(ROWS)[0]]
whole_zoo = pytest.mark.skipif(os.environ.get(FULL) != "full", reason=f"asks for the whole zoo: runs with {FULL}=full")


def locked(name: str, exporter: str) -> dict[str, tuple[str, str]] | None:
    """Pass -> (isolated, in order) as the snapshot locks it, ``nodes`` -> (before, after); None without a snapshot."""
    files = [*SNAPSHOTS.glob(f"*/*[[]{name}-{exporter}[]].attribution.txt")]
    if not files:
        return None
    assert len(files) == 1, f"{name} by {exporter} is locked twice: {files}"
    text = files[0].read_text(encoding="utf-8")
    before, after = re.search(r"^nodes: (\d+) -> (\d+)$", text, re.MULTILINE).groups()
    rows = re.findall(r"^(\w+) +([+-]?\d+) +([+-]?\d+)  (?:fired|no_op|refused)$", text, re.MULTILINE)
    return {"nodes": (before, after)} | {name: (isolated, in_order) for name, isolated, in_order in rows}


@whole_zoo
@pytest.mark.parametrize(("name", "exporter"), KEYS)
def test_no_cell_of_the_matrix_is_empty(name, exporter):
    row = ROWS.get((name, exporter))
    assert row is not None, f"run python -m examples.experiments.measure {name}:{exporter}"
    assert "failure" in row or {"attribution", "hierarchy", "accuracy", "latency"} <= row.keys()
    assert "failure" in row or locked(name, exporter) is not None


@pytest.mark.parametrize(("name", "exporter"), MEASURED)
def test_the_matrix_holds_what_the_snapshot_of_each_model_locks(name, exporter):
    row = ROWS[name, exporter]
    if "failure" in row:
        assert locked(name, exporter) is None
        assert row["failure"]["reason"]
        return
    measured = {"nodes": tuple(map(str, row["attribution"]["nodes"]))}
    for entry in row["attribution"]["passes"]:
        assert entry["error"] is None
        assert entry["leave_one_out"] is not None
        measured[entry["name"]] = (signed(entry["isolated"]), signed(entry["in_order"]))
    assert locked(name, exporter) == measured


def test_the_readme_table_is_what_the_measurements_say():
    now = README.read_text(encoding="utf-8")
    assert replaced(now, *measured_rows(ROWS)) == now


def test_the_guide_is_what_the_measurements_say():
    now = strategy_guide.GUIDE.read_text(encoding="utf-8")
    assert strategy_guide.replaced(now, measured_rows(ROWS)[0]) == now


@whole_zoo
def test_the_readme_table_is_complete():
    text = README.read_text(encoding="utf-8")
    table = text[text.index(BEGIN) : text.index(END)]
    assert not re.search(r"\| *\|", table), "an empty cell"
    assert "ot measured" not in table


def removed(name: str, exporter: str, pass_: str) -> int:
    """Nodes that the pass removes from the model, alone."""
    return -int(locked(name, exporter)[pass_][0])


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_at_least_ten_nodes_around_transposes_go_in_yolo12n(exporter):
    assert removed("yolo12n", exporter, "eliminate_redundant_transposes") >= 10


def test_at_least_ten_nodes_around_transposes_go_in_one_more_model():
    others = {key for key in KEYS if locked(*key) and not key[0].startswith("yolo")}
    assert max(removed(*key, "eliminate_redundant_transposes") for key in others) >= 10


@pytest.mark.parametrize("pass_", ["fold_constants", "fuse_matmul_add"])
def test_a_bert_has_nodes_that_folding_and_fusing_remove(pass_):
    family = ("bert-base", "bert-large", "distilbert", "roberta-base", "albert-base-v2")
    assert max(removed(*key, pass_) for key in KEYS if key[0] in family and locked(*key)) > 0


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_attention_cleanup_removes_a_twentieth_of_bert_base(exporter):
    cells = locked("bert-base", exporter)
    assert -int(cells["cleanup_attention"][1]) >= 0.05 * int(cells["nodes"][0])


@pytest.mark.parametrize(("name", "exporter"), MEASURED)
def test_every_model_keeps_its_numbers(name, exporter):
    row = ROWS[name, exporter]
    if "failure" in row:
        return
    assert row["accuracy"].get("passed"), row["accuracy"]
    values = [value for pair in row["accuracy"]["pairs"] for value in pair["scaled"]]
    assert max(values) < 1e-5


def test_at_least_one_model_is_more_than_two_percent_faster_and_its_interval_is_above_one():
    gains = [row["latency"] for row in ROWS.values() if "latency" in row and "error" not in row["latency"]]
    assert any(gain["ratio"] > 1.02 and gain["interval"][0] > 1 for gain in gains)


@pytest.mark.parametrize(("name", "exporter"), MEASURED)
def test_no_model_takes_two_percent_more_time(name, exporter):
    """At onnxruntime's default level; the exported over the optimized graph's time, so that 1 / 1.02 is 2 % more."""
    row = ROWS[name, exporter]
    if "failure" in row:
        return
    assert "error" not in row["latency"]
    assert row["latency"]["ratio"] >= 1 / 1.02, row["latency"]
