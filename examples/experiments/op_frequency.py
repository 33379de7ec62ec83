"""How often each operator stands in the exports of the zoo, before and after the pipeline.

``python -m examples.experiments.op_frequency``
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from examples.experiments.rows import Row, arguments, signed, table, write_result, zoo_rows


def report(rows: Sequence[Row]) -> str:
    """Operators by frequency, exporters apart."""
    parts = [
        "# Operators of the zoo\n\nNodes over all models, Constants left out; `exports` is how many exports hold the "
        "operator before the pipeline."
    ]
    for exporter in ("dynamo", "torchscript"):
        before, after, holding = Counter[str](), Counter[str](), Counter[str]()
        for row in rows:
            if row["exporter"] == exporter and "attribution" in row:
                ops_before, ops_after = row["attribution"]["ops"]
                before.update(ops_before)
                after.update(ops_after)
                holding.update(ops_before.keys())
        names = sorted(before | after, key=lambda op: (-before[op], op))
        lines = [[op, holding[op], before[op], after[op], signed(after[op] - before[op])] for op in names]
        lines.append(["all", "", before.total(), after.total(), signed(after.total() - before.total())])
        parts += [f"## {exporter}", table(["operator", "exports", "before", "after", "change"], lines)]
    return "\n\n".join(parts)


def main() -> None:
    given = arguments(__doc__).parse_args()
    write_result("op_frequency", report(zoo_rows(given, "attribution")))


if __name__ == "__main__":
    main()
