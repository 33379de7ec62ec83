"""The terminal summary: one line per model, then the matrix of passes. Plain data in, lines out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

NOT_MEASURED = "not measured"
_NOTES, _NOTE_WIDTH = 3, 200


def summary_lines(rows: Sequence[dict[str, Any]], width: int = 120) -> list[str]:
    """The whole summary of a run; empty where no test checked a model."""
    models = _merge(rows)
    if not models:
        return []
    lines = table(["model", "exporter", "nodes", "max diff", "coverage", "latency", "verdict"], map(_overview, models))
    lines += [line for model in models for line in _failure_lines(model)]
    lines += [line for model in models for line in _note_lines(model)]
    if any(model.get("passes") for model in models):
        lines += ["", "nodes changed by each pass: alone / in its place in the pipeline (-72 means 72 nodes fewer)"]
        lines += _matrix([model for model in models if model.get("passes")], width)
    return lines


def _merge(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per model, exporter and target, with the figures of all its tests and the gates' verdicts."""
    merged: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        model = row["model"]
        if model is None:  # its fixture failed before there was a model
            continue
        entry = merged.setdefault((model["name"], model["exporter"], model["target"]), {"gates": [], "outcomes": []})
        entry.update(model)
        entry["gates"] += row["gates"]
        entry["outcomes"].append(row["outcome"])
    return list(merged.values())


def _overview(model: dict[str, Any]) -> list[str]:
    nodes = model.get("nodes")
    if model.get("failure"):
        nodes_text = f"export failed: {model['failure']['kind']}"
    else:
        nodes_text = f"{nodes['before']} -> {nodes['after']}" if nodes else NOT_MEASURED
    accuracy, hierarchy, latency = model.get("accuracy"), model.get("hierarchy"), model.get("latency")
    return [
        model["name"],
        model["exporter"],
        nodes_text,
        accuracy["text"] if accuracy else NOT_MEASURED,
        hierarchy["text"] if hierarchy else NOT_MEASURED,
        latency["text"] if latency else NOT_MEASURED,
        _verdict(model),
    ]


def _verdict(model: dict[str, Any]) -> str:
    verdicts = [gate["verdict"] for gate in model["gates"]]
    parts = [f"{verdicts.count(v)} {v}" for v in ("error", "fail", "inconclusive", "pass") if v in verdicts]
    if any(outcome == "failed" for outcome in model["outcomes"]) and not {"fail", "error"} & set(verdicts):
        parts.insert(0, "test failed")
    return ", ".join(parts) or "no gate"


def _failure_lines(model: dict[str, Any]) -> list[str]:
    failure = model.get("failure")
    return [f"  {model['name']}: {failure['text']}"] if failure else []


def _note_lines(model: dict[str, Any]) -> list[str]:
    """What the exporter warned about and the accuracy sweep noticed: no verdict, and still worth reading."""
    notes = [f"exporter: {text}" for text in model.get("export", {}).get("warnings", ())]
    notes += (model.get("accuracy") or {}).get("notes", ())
    shown = [f"  note on {model['name']} [{model['exporter']}]: {note[:_NOTE_WIDTH]}" for note in notes[:_NOTES]]
    return shown + ([f"  ... and {len(notes) - _NOTES} more in the JSON report"] if len(notes) > _NOTES else [])


def _matrix(models: Sequence[dict[str, Any]], width: int) -> list[str]:
    """Passes down, models across; wide matrices are cut into blocks of columns."""
    names = list(dict.fromkeys(row["name"] for model in models for row in model["passes"]))
    first = max(map(len, [*names, "pass"])) + 2
    columns = [_column(model, names) for model in models]
    lines: list[str] = []
    block: list[list[str]] = []
    for column in columns:
        used = first + sum(max(map(len, other)) + 2 for other in [*block, column])
        if block and used > width:
            lines += [*_block(names, block), ""]
            block = []
        block.append(column)
    return [*lines, *_block(names, block)]


def _column(model: dict[str, Any], names: Sequence[str]) -> list[str]:
    cells = {row["name"]: _cell(row) for row in model["passes"]}
    total = f"{model['nodes']['before']} -> {model['nodes']['after']}"
    return [model["name"], model["exporter"], *(cells.get(name, "not in pipeline") for name in names), total]


def _cell(row: dict[str, Any]) -> str:
    alone, in_order = (signed(row["isolated"]), signed(row["in_order"]))
    return f"{alone} / {in_order}"


def signed(delta: int | None) -> str:
    """``"-72"``, ``"0"``, ``"+3"``; None is a pass that failed."""
    return "error" if delta is None else f"{delta:+d}" if delta else "0"


def _block(names: Sequence[str], columns: Sequence[Sequence[str]]) -> list[str]:
    labels = ["pass", "", *names, "nodes"]
    first = max(map(len, labels))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for index, label in enumerate(labels):
        cells = (column[index].rjust(width) for column, width in zip(columns, widths, strict=True))
        lines.append(f"{label:<{first}}  " + "  ".join(cells))
    return lines


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of columns as wide as their widest cell."""
    table = [list(header), *map(list, rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
