"""Two JSON reports side by side: what another environment or branch changed. Plain data in, a table out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_modelcheck.report.markdown import markdown_table
from pytest_modelcheck.report.models import models_of, verdict
from pytest_modelcheck.report.rows import finding_text

HEADER = ("model", "what", "before", "after")

_NOISE = 1.5
"""Seconds and differences by rounding are shown where they changed by this factor: both move from run to run."""
_SHORT = 1.0
"""Seconds below which nothing is said."""

Row = tuple[str, str, str, str]


def compare(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> list[Row]:
    """What differs between the tests of two reports: versions, then model by model.

    Args:
        before, after: Rows of tests, see `rows.row_of_test`.

    Example:
        ``("bert-base [dynamo]", "nodes, optimized", "266", "270")``
    """
    old, new = by_label(before), by_label(after)
    found: list[Row] = [("all", name, was, now) for name, was, now in _differences(_versions(old), _versions(new))]
    for label in dict.fromkeys([*old, *new]):
        if label not in new:
            found.append((label, "model", "in the report", "not in the report"))
        elif label not in old:
            found.append((label, "model", "not in the report", "in the report"))
        else:
            found += [(label, *row) for row in _differences(figures_of(old[label]), figures_of(new[label]))]
            found += [(label, *row) for row in _noisy(old[label], new[label])]
            found += [(label, *row) for row in _findings(old[label], new[label])]
    return found


def compared_text(rows: Sequence[Row]) -> str:
    """The differences as a Markdown table, for a pull request; one sentence where there are none."""
    return markdown_table(HEADER, rows) if rows else "Both reports say the same."


def by_label(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for model in models_of(rows):
        label = f"{model['name']} [{model['exporter']}]"
        label += "" if model["target"] == "portable" else f" for {model['target']}"
        while label in found:  # two cases of one name
            label += "'"
        found[label] = model
    return found


def _versions(models: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    return {name: version for model in models.values() for name, version in model.get("versions", {}).items()}


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for name in dict.fromkeys([*old, *new]):
        was, now = old.get(name, "-"), new.get(name, "-")
        if was != now:
            yield name, was, now


def figures_of(model: dict[str, Any]) -> dict[str, str]:
    """What is the same in every run of one environment."""
    figures = {"verdict": verdict(model)}
    if failure := model.get("failure"):
        figures["export"] = f"failed: {failure['kind']}"
    if nodes := model.get("nodes"):
        figures |= {"nodes, exported": str(nodes["before"]), "nodes, optimized": str(nodes["after"])}
    if weights := model.get("initializer_bytes"):
        figures["bytes of initializers, optimized"] = f"{weights['after']:,}"
    for row in model.get("passes", ()):
        if row["in_order"]:
            figures[f"nodes changed by {row['name']}"] = f"{row['in_order']:+d}"
    for op, count in model.get("operators", {}).get("after", {}).items():
        figures[f"{op}, optimized"] = str(count)
    if fusion := model.get("fusion"):
        figures |= {"attention layers with Q, K, V": fusion["qkv"], "fused subgraphs": str(fusion["subgraphs"])}
    if hierarchy := model.get("hierarchy"):
        figures["coverage"] = hierarchy["text"]
    return figures


def _noisy(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    was, now = ((model.get("accuracy") or {}).get("text", "") for model in (old, new))
    if _apart(_number(was), _number(now)):
        yield "largest difference", was, now
    was, now = ((model.get("latency") or {}).get("text", "") for model in (old, new))
    if was and now and was != now:
        yield "latency", was, now
    for step in dict.fromkeys([*old.get("seconds", {}), *new.get("seconds", {})]):
        before, after = (model.get("seconds", {}).get(step, 0.0) for model in (old, new))
        if max(before, after) >= _SHORT and _apart(before, after):
            yield f"seconds, {step}", f"{before:.1f}", f"{after:.1f}"


def _apart(one: float, other: float) -> bool:
    low, high = sorted((one, other))
    return low > 0 and high >= _NOISE * low


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _findings(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Findings of one side alone, by their first line; figures in them that moved are two findings."""
    was, now = (
        dict.fromkeys(finding_text(finding).partition("\n")[0] for finding in model["findings"]) for model in (old, new)
    )
    yield from (("finding", text, "gone") for text in was if text not in now)
    yield from (("finding", "-", text) for text in now if text not in was)
