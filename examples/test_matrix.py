"""The matrix, models x passes, and what the project promises of it, from snapshots and published tables: no torch."""

import os
import re
from pathlib import Path

import pytest

from examples.zoo.declaring import EXPORTERS
from examples.zoo.registry import MODELS
from examples.zoo.selecting import FULL

ROOT = Path(__file__).parents[1]
SNAPSHOTS = ROOT / "snapshots" / "examples"
KEYS = [(model.name, exporter) for model in MODELS for exporter in EXPORTERS]
RATIO = r"x(\d+\.\d+) \[(\d+\.\d+), \d+\.\d+\]"
whole_zoo = pytest.mark.skipif(os.environ.get(FULL) != "full", reason=f"asks for the whole zoo: runs with {FULL}=full")


def rows_of(text: str) -> dict[str, dict[str, str]]:
    """A Markdown table whose first column is the model: model -> {column: cell}."""
    header, _, *lines = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in text.split("\n") if line)
    return {line[0]: dict(zip(header[1:], line[1:], strict=True)) for line in lines}


def table_after(name: str, heading: str) -> dict[str, dict[str, str]]:
    """The first table of a document behind a heading or comment."""
    text = (ROOT / name).read_text(encoding="utf-8").split(f"{heading}\n", 1)[1]
    return rows_of(re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)[0])


ZOO_TEXT = (ROOT / "docs/zoo.md").read_text(encoding="utf-8")
ZOO = table_after("docs/zoo.md", "<!-- zoo table: begin -->")
GUIDE = table_after("docs/choosing_a_model_strategy.md", "<!-- strategies: begin -->")
MATRIX = {exporter: table_after("docs/attribution_matrix.md", f"## {exporter}") for exporter in EXPORTERS}


def locked(name: str, exporter: str) -> dict[str, tuple[str, str]] | None:
    """Pass -> (isolated, in order) as the snapshot locks it, ``nodes`` -> (before, after); None without a snapshot."""
    files = [*SNAPSHOTS.glob(f"*/*[[]{name}-{exporter}[]].attribution.txt")]
    if not files:
        return None
    assert len(files) == 1, f"{name} by {exporter} is locked twice: {files}"
    text = files[0].read_text(encoding="utf-8")
    before, after = re.search(r"^nodes: (\d+) -> (\d+)$", text, re.MULTILINE).groups()
    rows = re.findall(r"^(\w+) +([+-]?\d+) +([+-]?\d+)  (?:fired|no_op|refused)$", text, re.MULTILINE)
    ran = re.search(r"^passes: (.+)$", text, re.MULTILINE)[1].split(", ")
    figures = dict.fromkeys(ran, ("0", "0")) | {name: (isolated, in_order) for name, isolated, in_order in rows}
    return {"nodes": (before, after)} | figures


LOCKED = [(key, cells) for key in KEYS if (cells := locked(*key))]


@whole_zoo
def test_no_table_lacks_a_model_or_a_figure():
    names = {model.name for model in MODELS}
    for table in (ZOO, GUIDE, *MATRIX.values()):
        assert table.keys() == names
        for cells in table.values():
            assert "" not in cells.values()
            assert not [cell for cell in cells.values() if "ot measured" in cell]
    assert "Not measured" not in ZOO_TEXT
    assert {key for key, _ in LOCKED} == {key for key in KEYS if "failed" not in MATRIX[key[1]][key[0]]["nodes"]}


@pytest.mark.parametrize(("key", "cells"), LOCKED, ids=["-".join(key) for key, _ in LOCKED])
def test_the_published_tables_hold_what_the_snapshot_of_each_model_locks(key, cells):
    name, exporter = key
    published = MATRIX[exporter][name]
    assert published["nodes"] == " -> ".join(cells["nodes"])
    assert ZOO[name][f"nodes, {exporter}"].split(" (")[0] == published["nodes"]
    shown = {pass_: tuple(cell.split(" / ")[:2]) for pass_, cell in published.items() if pass_ != "nodes"}
    changed = {pass_: figures for pass_, figures in cells.items() if pass_ != "nodes" and set(figures) != {"0"}}
    assert changed == {pass_: figures for pass_, figures in shown.items() if set(figures) != {"0"}}


def test_the_claim_of_the_readme_holds_in_the_published_table_whose_counts_are_the_locked_ones():
    table = (ROOT / "docs/passes_against_peers.md").read_text(encoding="utf-8")
    row = r"^\| (\S+)(.*?) \| (dynamo|torchscript) \|.+\| (\d+) \| \*\*(\d+)\*\* \|"
    rows = re.findall(row, table, re.MULTILINE)
    assert f"over {len(rows)} files no other optimizer" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert [found for found in rows if int(found[4]) > int(found[3])] == []
    counts = {(name, exporter): int(ours) for name, variant, exporter, _, ours in rows if not variant}
    known = {key: int(cells["nodes"][1]) for key, cells in LOCKED if key in counts}
    assert counts == counts | known
    assert len(known) > 40


@pytest.mark.parametrize("name", [model.name for model in MODELS if all(locked(model.name, e) for e in EXPORTERS)])
def test_the_guide_recommends_the_exporter_whose_snapshot_has_fewer_nodes(name):
    dynamo, torchscript = (int(locked(name, exporter)["nodes"][1]) for exporter in ("dynamo", "torchscript"))
    best = "dynamo" if dynamo < torchscript else "torchscript"
    fewer = f"{best}: {abs(dynamo - torchscript)} fewer nodes"
    assert GUIDE[name]["exporter"] == ("either: the same number of nodes" if dynamo == torchscript else fewer)


def removed(name: str, exporter: str, pass_: str) -> int:
    """Nodes that the pass removes from the model, alone."""
    return -int(locked(name, exporter)[pass_][0])


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_at_least_ten_nodes_around_transposes_go_in_yolo12n(exporter):
    assert removed("yolo12n", exporter, "eliminate_redundant_transposes") >= 10


def test_at_least_ten_nodes_around_transposes_go_in_one_more_model():
    others = {key for key, _ in LOCKED if not key[0].startswith("yolo")}
    assert max(removed(*key, "eliminate_redundant_transposes") for key in others) >= 10


@pytest.mark.parametrize("pass_", ["fold_constants", "fuse_matmul_add"])
def test_a_bert_has_nodes_that_folding_and_fusing_remove(pass_):
    family = ("bert-base", "bert-large", "distilbert", "roberta-base", "albert-base-v2")
    assert max(removed(*key, pass_) for key, _ in LOCKED if key[0] in family) > 0


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_attention_cleanup_removes_a_twentieth_of_bert_base(exporter):
    cells = locked("bert-base", exporter)
    assert -int(cells["cleanup_attention"][1]) >= 0.05 * int(cells["nodes"][0])


@pytest.mark.parametrize("name", ZOO)
def test_every_model_keeps_its_numbers(name):
    assert float(ZOO[name]["max diff"]) < 1e-5


def test_no_model_takes_two_percent_more_time_and_one_is_more_than_two_percent_faster():
    """At onnxruntime's default level; the exported over the optimized graph's time, so that 1 / 1.02 is 2 % more."""
    line = re.search(rf"^Latency over 66 exports: slowest [^;]* {RATIO}, fastest [^;]* {RATIO}\.$", ZOO_TEXT, re.M)
    slowest, _, fastest, fastest_low = map(float, line.groups())
    assert slowest >= 1 / 1.02
    assert fastest > 1.02
    assert fastest_low > 1
