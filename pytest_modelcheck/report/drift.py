"""What changed around the models since their snapshots were recorded: one summary for the whole run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_modelcheck.result import listed

_NAMED = 5


def drift_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Version steps, and how many of the tests that failed were recorded before them; empty where none failed.

    Args:
        rows: One per test, see `rows.row_of_test`; ``drift`` is library -> [recorded version, today's].

    >>> drift_lines([{"outcome": "failed", "drift": {"torch": ["2.12", "2.13"]}, "test": "test_a.py::test_net"}])
    ['  versions since recording: torch 2.12 -> 2.13; 1 of 1 failed tests: test_a.py::test_net']
    """
    failed = [row for row in rows if row["outcome"] == "failed"]
    drifted = [row for row in failed if row.get("drift")]
    if not drifted:
        return []
    steps = dict.fromkeys(f"{name} {was} -> {now}" for row in drifted for name, (was, now) in row["drift"].items())
    names = listed([row["test"] for row in drifted], _NAMED)
    lines = [f"  versions since recording: {', '.join(steps)}; {len(drifted)} of {len(failed)} failed tests: {names}"]
    known = [row["as_locked"] for row in drifted if row.get("as_locked") is not None]
    if known:
        lines.append(f"  their optimized graphs: {sum(known)} of {len(known)} are the locked ones, node for node")
    return lines
