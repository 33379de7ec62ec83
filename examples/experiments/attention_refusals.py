"""What attention cleanup refused, and why.

``python -m examples.experiments.attention_refusals``
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from examples.experiments.rows import Row, arguments, signed, table, write_result, zoo_rows

PASS = "cleanup_attention"


def report(rows: Sequence[Row]) -> str:
    """Per export that has an attention: what was removed and what refused; then the reasons over the whole zoo."""
    lines, reasons = [], Counter[str]()
    for row in rows:
        if "attribution" not in row:
            continue
        entry = next(entry for entry in row["attribution"]["passes"] if entry["name"] == PASS)
        reasons.update(dict(map(tuple, entry["reasons"])))
        if entry["in_order"] or entry["reasons"]:
            said = "; ".join(f"{count} x {reason}" for reason, count in entry["reasons"]) or "nothing"
            lines.append([row["model"], row["exporter"], signed(entry["in_order"]), said])
    text = "# What attention cleanup refused\n\nNodes that it changed in its place, and its refusals.\n\n"
    total = table(["reason", "times"], reasons.most_common())
    return f"{text}{total}\n{table(['model', 'exporter', 'nodes', 'refused'], lines)}"


def main() -> None:
    given = arguments(__doc__).parse_args()
    write_result(PASS + "_refusals", report(zoo_rows(given, "attribution")))


if __name__ == "__main__":
    main()
