"""The rows of a run's tests, put together by model: what every form of the report shows. Plain data in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NOT_MEASURED = "not measured"
OVERVIEW = ("model", "exporter", "nodes", "max diff", "coverage", "latency", "verdict")
"""The columns of `overview`."""

MATRIX = "nodes changed by each pass: alone / in its place in the pipeline (-72 means 72 nodes fewer)"
"""What the cells of `pass_cells` are."""

COVERAGE = "; coverage after it: nodes whose module is known, (-3) means it lost the owners of 3 nodes"
"""What explains the counts where the owners of nodes were followed through the passes."""


def matrix_caption(models: Sequence[dict[str, Any]]) -> str:
    """The line above the matrix of these models."""
    return MATRIX + (COVERAGE if any(model.get("owners") for model in models) else "")


def models_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry per model, exporter, target and export, with the figures of all its tests and the gates' verdicts.

    Two cases of one name that were exported to different graphs, or fail to export in different ways, stay two entries
    (`duplicates`).
    """
    merged: list[dict[str, Any]] = []
    for row in rows:
        model = row["model"]
        if model is None:  # its fixture failed before there was a model
            continue
        entry = next((entry for entry in merged if _same(entry, model)), None)
        if entry is None:
            entry = {"gates": [], "outcomes": [], "tests": [], "findings": [], "locked": []}
            merged.append(entry)
        entry.update(model)
        entry["gates"] += _gates(row)
        entry["outcomes"].append(row["outcome"])
        entry["tests"].append(row["test"])
        entry["locked"] += [kind for kind in row.get("locked", ()) if kind not in entry["locked"]]
        entry["findings"] += [finding for gate in row["gates"] for finding in gate["findings"]] + row["findings"]
    return merged


def _gates(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The gates of a test; one that fails as a table says it does has the verdict ``known``."""
    known = {entry["gate"] for entry in row.get("known", ()) if entry["failed"]}

    def is_known(gate: dict[str, Any]) -> bool:
        of_export = "export" in known and {finding["gate"] for finding in gate["findings"]} == {"modelcheck"}
        return gate["verdict"] in ("fail", "error") and (gate["gate"] in known or of_export)

    return [{**gate, "verdict": "known"} if is_known(gate) else gate for gate in row["gates"]]


def _same(entry: dict[str, Any], model: dict[str, Any]) -> bool:
    keys = {figures.get("export", {}).get("key") for figures in (entry, model)} - {None}
    failures = {repr(figures.get("failure")) for figures in (entry, model) if figures.get("failure")}
    return len(keys) < 2 and len(failures) < 2 and all(entry[part] == model[part] for part in _IDENTITY)


_IDENTITY = ("name", "exporter", "target")


def duplicates(models: Sequence[dict[str, Any]]) -> list[str]:
    """Models that share a name, exporter and target, and are not one: each name once, with a test of each."""
    by_name: dict[tuple[str, ...], list[str]] = {}
    for model in models:
        by_name.setdefault(tuple(model[part] for part in _IDENTITY), []).append(model["tests"][0])
    return [
        f"{len(tests)} cases are named {name!r} [{exporter}]: {', '.join(tests)}"
        for (name, exporter, _), tests in by_name.items()
        if len(tests) > 1
    ]


def overview(model: dict[str, Any]) -> list[str]:
    """One cell for each column of `OVERVIEW`."""
    nodes = model.get("nodes")
    if model.get("failure"):
        nodes_text = f"export failed: {model['failure']['kind']}"
    else:
        nodes_text = f"{nodes['before']} -> {nodes['after']}" if nodes else NOT_MEASURED
    measured = [figures["text"] if (figures := model.get(part)) else NOT_MEASURED for part in _PARTS]
    return [model["name"], model["exporter"], nodes_text, *measured, verdict(model)]


_PARTS = ("accuracy", "hierarchy", "latency")


def verdict(model: dict[str, Any]) -> str:
    """How often its gates gave each verdict, the worst first; a test that failed for another reason is said, too."""
    verdicts = [gate["verdict"] for gate in model["gates"]]
    parts = [f"{verdicts.count(v)} {v}" for v in ("error", "fail", "known", "inconclusive", "pass") if v in verdicts]
    if any(outcome == "failed" for outcome in model["outcomes"]) and not {"fail", "error"} & set(verdicts):
        parts.insert(0, "test failed")
    return ", ".join(parts) or "no gate"


def state(model: dict[str, Any]) -> str:
    """``"fail"``, ``"inconclusive"`` or ``"pass"``: the worst that its gates and tests say."""
    verdicts = {gate["verdict"] for gate in model["gates"]}
    if "failed" in model["outcomes"] or {"fail", "error"} & verdicts:
        return "fail"
    return "inconclusive" if "inconclusive" in verdicts else "pass"


def notes(model: dict[str, Any]) -> list[str]:
    """What the exporter warned about and the accuracy sweep noticed: no verdict, and still worth reading."""
    warnings = [f"exporter: {text}" for text in model.get("export", {}).get("warnings", ())]
    return warnings + list((model.get("accuracy") or {}).get("notes", ()))


def not_kept(models: Sequence[dict[str, Any]]) -> list[str]:
    """Why results could not be kept, each reason once."""
    said = [text for model in models for text in (*model.get("export", {}).get("why", ()), *model.get("not_kept", ()))]
    return list(dict.fromkeys(text for text in said if text.startswith(_NOT_KEPT)))


_NOT_KEPT = "results are not kept"


def reuse_lines(model: dict[str, Any]) -> list[str]:
    """What was taken from an earlier run, and why the export was not."""
    export, who = model.get("export"), f"{model['name']} [{model['exporter']}]"
    if export is None:
        return []
    taken = ["export"] * export["cached"] + list(model.get("reused", ()))
    lines = [f"  {who}: taken from an earlier run: {', '.join(taken) or 'nothing'}"]
    return lines + [f"  {who}: exported now: {why}" for why in export["why"] if not why.startswith(_NOT_KEPT)]


def not_locked(model: dict[str, Any]) -> tuple[str, ...]:
    """The kinds of results that no snapshot of the model's tests locks."""
    return tuple(kind for kind in model.get("lockable", ()) if kind not in model["locked"])


def pass_names(models: Sequence[dict[str, Any]]) -> list[str]:
    """The passes that changed or failed something in one of the models, in the order in which they first appear."""
    rows = [row for model in models for row in model.get("passes", ())]
    active = {row["name"] for row in rows if row["isolated"] or row["in_order"] or row["status"] in ("fired", "error")}
    return [name for name in dict.fromkeys(row["name"] for row in rows) if name in active]


def pass_cells(model: dict[str, Any], names: Sequence[str]) -> list[str]:
    """What each named pass did: ``"-72 / -48"``; where owners were followed ``"-72 / -48  99.3% (-3)"``."""
    cells = {row["name"]: f"{signed(row['isolated'])} / {signed(row['in_order'])}" for row in model.get("passes", ())}
    for row in model.get("owners", ()):
        cells[row["name"]] += f"  {coverage_cell(row)}"
    return [cells.get(name, "not in pipeline") for name in names]


def coverage_cell(row: dict[str, Any]) -> str:
    """The coverage after a pass, and how many nodes lost their owner in it: ``"99.3% (-3)"``."""
    lost = f" ({-row['lost']:+d})" if row["lost"] > 0 else ""
    return f"{100 * row['coverage']:.1f}%{lost}"


def signed(delta: int | None) -> str:
    """``"-72"``, ``"0"``, ``"+3"``; None is a pass that failed."""
    return "error" if delta is None else f"{delta:+d}" if delta else "0"
