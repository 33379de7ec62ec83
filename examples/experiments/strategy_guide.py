"""Which exporter and which hierarchy strategy for which model: a table of docs/choosing_a_model_strategy.md.

``python -m examples.experiments.strategy_guide``
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.experiments.rows import ROOT, Row, arguments, between, measured_rows, read_rows, table

GUIDE = ROOT / "docs" / "choosing_a_model_strategy.md"
BEGIN, END = "<!-- strategies: begin -->", "<!-- strategies: end -->"
PRECISE = 0.95
"""Share of nodes from which on the exporter's own word about modules is enough."""


def exporter(dynamo: Row, torchscript: Row) -> str:
    """The exporter whose graph is smaller after the pipeline, and by how much; a failed one is not taken."""
    if "failure" in dynamo and "failure" in torchscript:
        return "neither exports it"
    for taken, other in ((dynamo, torchscript), (torchscript, dynamo)):
        if "failure" in other:
            return f"{taken['exporter']}: {other['exporter']} fails with {other['failure']['kind']}"
    left, right = _nodes(dynamo), _nodes(torchscript)
    if left == right:
        return "either: the same number of nodes"
    return f"dynamo: {right - left} fewer nodes" if left < right else f"torchscript: {left - right} fewer nodes"


def _nodes(row: Row) -> int:
    return int(row["attribution"]["nodes"][1])


def strategy(row: Row) -> str:
    """``precise`` where the exporter names the module of enough nodes by itself, with that share."""
    if "failure" in row:
        return "-"
    kinds = row["hierarchy"]["kinds"]
    share = kinds.get("direct", 0) / sum(kinds.values())
    return f"{'precise' if share >= PRECISE else 'broad'} ({100 * share:.0f}%)"


def capture(row: Row) -> str:
    """How the torch graph is captured."""
    found = row.get("fusion", {})
    if "error" in found:
        return "no capture"
    return "torch.export" if found else "not measured"


def guide(rows: Sequence[Row]) -> str:
    """Models down."""
    by_model: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_model.setdefault(row["model"], {})[row["exporter"]] = row
    header = ["model", "exporter", "hierarchy, dynamo", "hierarchy, torchscript", "capture"]
    return table(
        header,
        [
            [name, exporter(**both), strategy(both["dynamo"]), strategy(both["torchscript"]), capture(both["dynamo"])]
            for name, both in by_model.items()
        ],
    )


def replaced(text: str, rows: Sequence[Row]) -> str:
    """The guide with today's table between its markers."""
    return between(text, BEGIN, END, guide(rows))


def main() -> None:
    arguments(__doc__).parse_args()
    GUIDE.write_text(replaced(GUIDE.read_text(encoding="utf-8"), measured_rows(read_rows())[0]), encoding="utf-8")


if __name__ == "__main__":
    main()
