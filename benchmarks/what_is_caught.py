"""What the locked kinds say of each change of `tests/regressions`: writes docs/what_is_caught.md.

python -m benchmarks.what_is_caught                     # from the root of the repository; some minutes on two cores
python -m benchmarks.what_is_caught --exporter dynamo   # every row by that exporter: its misses, and no page
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pytest_modelcheck.model_case import EXPORTERS
from tests.regressions.changes import CHANGES
from tests.regressions.files import CannotBeMadeError
from tests.regressions.running import Row, said

PAGE = Path(__file__).parent.parent / "docs" / "what_is_caught.md"

Said = Mapping[tuple[str, str], Mapping[str, str]]
"""(row, exporter) -> kind -> its message."""

_LONGEST = 150


def measure(rows: Sequence[Row] = CHANGES) -> Said:
    """Make every change, and ask the kinds; what goes wrong is printed at once."""
    found = {}
    for row in rows:
        for exporter in row.exporters:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    messages = said(row, exporter, Path(folder))
                except CannotBeMadeError as error:
                    print(f"{row} ({exporter}): not in its files: {error}", flush=True)
                    continue
            found[str(row), exporter] = messages
            if not is_right(row, messages):
                missing = [words for words in row.words if words not in "\n".join(messages.values())]
                print(f"{row} ({exporter}, {row.verdict}): {missing} missing in {messages}", flush=True)
    return found


def by(exporter: str) -> Said:
    """Every row by one exporter, whichever the row names."""
    return measure([replace(row, exporters=(exporter,)) for row in CHANGES])


def page(found: Said) -> str:
    """The page: totals, misses, and one row per change."""
    runs = [(row, exporter, found[str(row), exporter]) for row in CHANGES for exporter in row.exporters]
    right = Counter(row.verdict for row, _, messages in runs if is_right(row, messages))
    total = Counter(row.verdict for row, _, _ in runs)
    wrong = [(row, exporter, messages) for row, exporter, messages in runs if not is_right(row, messages)]
    lines = [
        "# What is caught",
        "",
        f"{len(CHANGES)} changes to seven small models, {len(runs)} runs by both exporters, each made as a user, a",
        "library's release or a tool makes it, held against `interface`, `modules` and `numbers` of the model before",
        "it (`weights` where only weights change). The list is `tests/regressions/changes.py`, each row a test;",
        "this page is written by the second of these commands.",
        "",
        "```console",
        "pytest tests/regressions -k LayerNorm      # the rows that have to do with it",
        "python -m benchmarks.what_is_caught        # all of them, and this page",
        "```",
        "",
        "| change | runs | right |",
        "|---|---:|---:|",
        f"| must be red, and named | {total['red']} | {right['red']} |",
        f"| harmless: every kind is silent | {total['harmless']} | {right['harmless']} |",
        f"| equivalent, by other operators: only `modules` may report it | {total['graph']} | {right['graph']} |",
        f"| cannot be seen by these kinds | {total['blind']} | {right['blind']} |",
        "",
        "Misses: " + (", ".join(f"{row} ({exporter})" for row, exporter, _ in wrong) or "none") + ".",
        "",
        "| model | change | exporter | expected | said by | first words |",
        "|---|---|---|---|---|---|",
        *(_line(row, exporter, messages) for row, exporter, messages in runs),
    ]
    return "\n".join(lines) + "\n"


def is_right(row: Row, messages: Mapping[str, str]) -> bool:
    """Whether a run says what its row expects."""
    text = "\n".join(messages.values())
    if row.verdict == "red":
        return bool(messages) and all(words in text for words in row.words)
    return not messages or (row.verdict == "graph" and set(messages) == {"modules"})


def _line(row: Row, exporter: str, messages: Mapping[str, str]) -> str:
    first = next(iter(messages.values()), "").split("\n")
    words = first[1] if len(first) > 1 and "difference" in first[0] else first[0]
    shown = words.replace("|", "\\|")
    shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST].rstrip()} ..."
    return f"| {row.model} | {row.name} | {exporter} | {row.verdict} | {', '.join(messages) or '-'} | {shown} |"


def main() -> int:
    """Returns 1 where a row is not right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exporter", choices=EXPORTERS, help="every row by this exporter; writes no page")
    given = parser.parse_args()
    found = measure() if given.exporter is None else by(given.exporter)
    rows = {str(row): row for row in CHANGES}
    right = Counter(rows[name].verdict for (name, _), messages in found.items() if is_right(rows[name], messages))
    total = Counter(rows[name].verdict for name, _ in found)
    print(", ".join(f"{verdict}: {right[verdict]} of {total[verdict]}" for verdict in total))
    if given.exporter is None:
        PAGE.write_text(page(found), encoding="utf-8")
    return 0 if right == total else 1


if __name__ == "__main__":
    sys.exit(main())
