"""The table of `docs/zoo.md`, written between two marker comments.

``python -m examples.experiments.zoo_table``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from examples.experiments.rows import ROOT, Row, arguments, between, measured_rows, read_rows, table

PAGE = ROOT / "docs" / "zoo.md"
BEGIN, END = "<!-- zoo table: begin -->", "<!-- zoo table: end -->"


def zoo_table(rows: Sequence[Row]) -> str:
    """Models down; per exporter nodes, and the figures of the export that the pipeline leaves smaller."""
    by_model: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_model.setdefault(row["model"], {})[row["exporter"]] = row
    header = ["model", "nodes, dynamo", "nodes, torchscript", "bytes", "latency", "max diff", "coverage", "QKV"]
    return table(header, [[name, *_cells(both)] for name, both in by_model.items()])


def _cells(both: Mapping[str, Row]) -> list[str]:
    shown = both["dynamo"] if "failure" not in both["dynamo"] else both["torchscript"]
    size = shown.get("attribution", {}).get("bytes")
    worst = max((_worst(row) for row in both.values() if "accuracy" in row), default=None)
    return [
        _nodes(both["dynamo"]),
        _nodes(both["torchscript"]),
        _change(size[0], size[1], 1) if size and size[0] else "no weights",
        _latency(shown),
        "not measured" if worst is None else f"{worst:.1e}",
        _coverage(both),
        _qkv(shown),
    ]


def _nodes(row: Row) -> str:
    if "failure" in row:
        return f"export failed: {row['failure']['kind']}"
    before, after = row["attribution"]["nodes"]
    return f"{before} -> {after} ({_change(before, after, 0)})"


def _change(before: float, after: float, digits: int) -> str:
    """-25%, +3%, 0%: rounded, and never a signed zero."""
    text = f"{100 * (after - before) / before:+.{digits}f}"
    return f"{text if float(text) else text[1:]}%"


def _latency(row: Row) -> str:
    measured = row.get("latency")
    if measured is None:
        return "not measured"
    if not _is_timed(row):
        return "error"
    low, high = measured["interval"]
    return f"x{measured['ratio']:.3f} [{low:.3f}, {high:.3f}]"


def _is_timed(row: Row) -> bool:
    return "latency" in row and not isinstance(row["latency"].get("ratio", "error"), str)


def latency_line(rows: Sequence[Row]) -> str:
    """The two ends of the latencies of all exports, and how many were not measured."""
    timed = sorted((row for row in rows if _is_timed(row)), key=lambda row: float(row["latency"]["ratio"]))
    if not timed:
        return "No latency was measured."
    ends = ", ".join(
        f"{word} {row['model']} by {row['exporter']} with {_latency(row)}"
        for word, row in (("slowest", timed[0]), ("fastest", timed[-1]))
    )
    missing = len([row for row in rows if "failure" not in row]) - len(timed)
    return f"Latency over {len(timed)} exports: {ends}" + (f"; {missing} not measured." if missing else ".")


def _worst(row: Row) -> float:
    values = [value for pair in row["accuracy"].get("pairs", ()) for value in pair["scaled"]]
    return float("nan") if not values or any(isinstance(value, str) for value in values) else max(values)


def _coverage(both: Mapping[str, Row]) -> str:
    return " / ".join(
        f"{100 * row['hierarchy']['coverage']:.1f}%" if "hierarchy" in row else "-" for row in both.values()
    )


def _qkv(row: Row) -> str:
    fused = row.get("fusion")
    if fused is None or "error" in fused:
        return "no capture"
    return f"{fused['qkv']}/{fused['attention_layers']}" if fused["attention_layers"] else "no attention"


def replaced(page: str, rows: Sequence[Row], absent: Sequence[str] = ()) -> str:
    """The page with today's table between its markers, and the names of the models that it lacks.

    Raises:
        ValueError: if the markers are not there.
    """
    note = f"\nNot measured: {', '.join(absent)}.\n" if absent else ""
    return between(page, BEGIN, END, f"{zoo_table(rows)}\n{latency_line(rows)}\n{note}")


def main() -> None:
    arguments(__doc__).parse_args()
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8"), *measured_rows(read_rows())), encoding="utf-8")


if __name__ == "__main__":
    main()
