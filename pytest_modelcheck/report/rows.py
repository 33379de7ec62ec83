"""What the report says of one test, as plain data: what workers send to the controller and what the JSON file holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_modelcheck.gates import GateResult
    from pytest_modelcheck.result import Finding

SCHEMA = 1
"""Raised when a field of the JSON report changes its meaning or goes away."""


def row_of_test(
    test: str,
    place: tuple[str, int],
    outcome: str,
    model: dict[str, Any] | None,
    gates: Sequence[GateResult],
    body: Sequence[Finding],
    locked: Sequence[str] = (),
    known: Sequence[dict[str, Any]] = (),
    drift: Mapping[str, Sequence[str]] | None = None,
    changed: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """One test: what the report holds of it.

    Args:
        test: Its node id.
        place: Its file, relative to the root directory of the run, and its line, from 1.
        outcome: As pytest names it.
        model: The figures of its model.
        gates: Its gates.
        body: The findings of its body.
        locked: The kinds of snapshots that it compared.
        known: The rows of the table of known failures that are about it.
        changed: The modules whose rows differ from the locked ones, see `hierarchy.changed_modules`.
        drift: Library -> (version that recorded its snapshots, today's), of those that differ.
    """
    return {
        "test": test,
        "file": place[0],
        "line": place[1],
        "outcome": outcome,
        "model": model,
        "gates": [
            {
                "gate": result.gate,
                "verdict": str(result.verdict),
                "measured": result.measured,
                "seconds": round(result.seconds, 3),
                "findings": [finding_row(finding) for finding in result.findings],
            }
            for result in gates
        ],
        "findings": [finding_row(finding) for finding in body],
        "locked": list(locked),
        "known": list(known),
        "changed": list(changed),
        "drift": {name: list(step) for name, step in (drift or {}).items()},
    }


def finding_row(finding: Finding) -> dict[str, Any]:
    """A finding as plain data."""
    return {**asdict(finding), "where": list(finding.where), "verdict": str(finding.verdict)}


def findings_in(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The findings of a test's gates and of its body, each once: a failed export is what all of them found."""
    found = [finding for gate in row["gates"] for finding in gate["findings"]] + row["findings"]
    return [finding for index, finding in enumerate(found) if finding not in found[:index]]


def finding_text(row: dict[str, Any]) -> str:
    """A finding that was made plain data, as text."""
    from pytest_modelcheck.result import Finding, Verdict

    return Finding(**{**row, "where": tuple(row["where"]), "verdict": Verdict(row["verdict"])}).render()
