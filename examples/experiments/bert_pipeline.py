"""The whole pipeline on BERT-base, pass by pass, by both exporters.

``python -m examples.experiments.bert_pipeline``
"""

from __future__ import annotations

from examples.experiments.rows import Row, arguments, read_rows, signed, table, wanted_rows, write_result

MODEL = "bert-base"


def section(row: Row) -> str:
    """One exporter: what each pass found, changed and left."""
    measured = row["attribution"]
    left, lines = measured["nodes"][0], []
    for entry in measured["passes"]:
        left += entry["in_order"]
        ops = ", ".join(f"{op} {signed(delta)}" for op, delta in sorted(entry["ops"].items(), key=lambda item: item[1]))
        size = signed(entry["bytes_after"] - entry["bytes_before"])
        lines.append([entry["name"], signed(entry["in_order"]), left, signed(entry["constants"]), size, ops or "-"])
    before, after = measured["nodes"]
    share = 100 * (before - after) / before
    title = f"## {row['exporter']}: {before} -> {after} nodes ({share:.1f} % fewer)"
    return f"{title}\n\n{table(['pass', 'nodes', 'left', 'Constants', 'bytes', 'operators'], lines)}"


def main() -> None:
    arguments(__doc__).parse_args()
    rows = wanted_rows(read_rows(), "attribution", [MODEL])
    text = [f"# The pipeline on {MODEL}, pass by pass", *(section(row) for row in rows if "attribution" in row)]
    write_result("bert_pipeline", "\n\n".join(text))


if __name__ == "__main__":
    main()
