"""Figures over many runs: JSON reports that were kept, oldest first. Plain data in, a table out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_modelcheck.report.compare import by_label, figures_of

_ABSENT = "-"


def history(reports: Sequence[tuple[str, dict[str, Any]]]) -> tuple[list[str], list[list[str]]]:
    """The columns, and one row per model and figure that was not the same in all runs.

    Args:
        reports: (name, JSON report), in any order; those without a date come first, in their own.

    Example:
        ``["bert-base [dynamo]", "nodes, optimized", "266", "270", "266"]``
    """
    ordered = sorted(reports, key=lambda named: str(named[1].get("run", {}).get("date", "")))
    runs = [
        {label: figures_of(model) | _timed(model) for label, model in by_label(report["tests"]).items()}
        for _, report in ordered
    ]
    rows = []
    for label in dict.fromkeys(label for run in runs for label in run):
        for what in dict.fromkeys(what for run in runs for what in run.get(label, ())):
            values = [run.get(label, {}).get(what, _ABSENT) for run in runs]
            if len(set(values)) > 1:
                rows.append([label, what, *values])
    return ["model", "what", *(_column(name, report) for name, report in ordered)], rows


def _timed(model: dict[str, Any]) -> dict[str, str]:
    """What moves from run to run, and is worth a look over many."""
    sections = {"largest difference": "accuracy", "latency": "latency"}
    found = {what: (model.get(section) or {}).get("text", "") for what, section in sections.items()}
    seconds = {f"seconds, {step}": f"{model['seconds'][step]:.1f}" for step in ("export",) if step in model["seconds"]}
    return {what: text for what, text in found.items() if text} | seconds


def _column(name: str, report: dict[str, Any]) -> str:
    """The day of the run and its commit; the report's name where it says neither."""
    run = report.get("run", {})
    said = [str(run.get("date", ""))[:10], str(run.get("commit", "")).partition(" ")[0]]
    return " ".join(filter(None, said)) or name
