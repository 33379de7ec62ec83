"""Which tolerance do the models meet? 20 seeds each, every pair of stages.

``python -m examples.experiments.tolerance_sweep``
"""

from __future__ import annotations

from collections.abc import Sequence

from examples.experiments.rows import Row, arguments, table, write_result, zoo_rows

TOLERANCES = (1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7)


def report(rows: Sequence[Row]) -> str:
    """Per export: the worst scaled difference, and the share of (seed, pair) comparisons that meet each tolerance."""
    lines = []
    for row in rows:
        if "accuracy" not in row:
            cells = [f"export failed: {row['failure']['kind']}"] * (1 + len(TOLERANCES))
            lines.append([row["model"], row["exporter"], *cells])
            continue
        values = [value for pair in row["accuracy"].get("pairs", ()) for value in pair["scaled"]]
        if not values or any(isinstance(value, str) for value in values):
            cells = [row["accuracy"].get("error") or "not a number"] * (1 + len(TOLERANCES))
            lines.append([row["model"], row["exporter"], *cells])
            continue
        shares = [sum(value <= tolerance for value in values) / len(values) for tolerance in TOLERANCES]
        lines.append(
            [row["model"], row["exporter"], f"{max(values):.1e}", *(f"{100 * share:.0f}%" for share in shares)]
        )
    text = (
        "# Tolerances\n\nThe scaled difference is max|a - b| / max(1, max|a|), over 20 seeds and every pair of stages "
        "(torch, exported, optimized; onnxruntime's own optimizer off and on). A column gives the share of comparisons "
        "that meet the tolerance.\n\n"
    )
    header = ["model", "exporter", "worst", *(f"{tolerance:.0e}" for tolerance in TOLERANCES)]
    return text + table(header, lines)


def main() -> None:
    given = arguments(__doc__).parse_args()
    write_result("tolerance_sweep", report(zoo_rows(given, "accuracy")))


if __name__ == "__main__":
    main()
