"""The pass-attribution matrix: every pass on every model, alone, in order, and left out: docs/attribution_matrix.md.

``python -m examples.experiments.attribution_matrix``
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.experiments.rows import ROOT, Row, arguments, signed, table, write_result, zoo_rows

DOCS = ROOT / "docs"
LEGEND = "alone / in order / without it: -72 means 72 nodes fewer; the last one how many more would be left without it."


def matrix(rows: Sequence[Row]) -> str:
    """Models down, passes across; a failed export says why. Passes that change nothing on any model are named below."""
    measured = [row for row in rows if "attribution" in row]
    names = [entry["name"] for entry in measured[0]["attribution"]["passes"]]
    idle = [name for index, name in enumerate(names) if not any(map(any, (_deltas(row, index) for row in measured)))]
    shown = [index for index, name in enumerate(names) if name not in idle]
    header = ["model", "nodes", *(names[index] for index in shown)]
    lines = []
    for row in rows:
        if "failure" in row:
            lines.append([row["model"], *[f"export failed: {row['failure']['kind']}"] * (len(header) - 1)])
            continue
        before, after = row["attribution"]["nodes"]
        cells = (" / ".join(map(signed, _deltas(row, index))) for index in shown)
        lines.append([row["model"], f"{before} -> {after}", *cells])
    note = f"\nNo change of the node count on any of these: {', '.join(idle)}.\n" if idle else ""
    return table(header, lines) + note


def _deltas(row: Row, index: int) -> list[int | None]:
    entry = row["attribution"]["passes"][index]
    return [entry["isolated"], entry["in_order"], entry["leave_one_out"]]


COMMAND = "```console\npython -m pytest_modelcheck attribute model.onnx --leave-one-out\n```"


def report(rows: Sequence[Row]) -> str:
    """One matrix per exporter."""
    made = "Written by `python -m examples.experiments.attribution_matrix`. For a file of your own:"
    parts = ["# What each pass does to each model", f"{LEGEND} {made}", COMMAND]
    for exporter in ("dynamo", "torchscript"):
        parts += [f"## {exporter}", matrix([row for row in rows if row["exporter"] == exporter])]
    return "\n\n".join(parts)


def main() -> None:
    given = arguments(__doc__).parse_args()
    write_result("attribution_matrix", report(zoo_rows(given, "attribution")), DOCS)


if __name__ == "__main__":
    main()
