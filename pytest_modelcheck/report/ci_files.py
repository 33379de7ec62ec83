"""Reports in the forms that CI services read: GitLab's code quality, and benchmark dashboards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_modelcheck.report.models import models_of
from pytest_modelcheck.report.rows import finding_text, findings_in

_SEVERITY = {"fail": "major", "error": "critical", "inconclusive": "info"}


def code_quality(rows: Sequence[dict[str, Any]]) -> str:
    """Every finding at the line of its test, as GitLab's merge requests show it.

    Source: "Code Quality report format" in GitLab's documentation. A fingerprint depends on test, gate and subject, so
    that a finding stays the same one while its figures move.
    """
    found = []
    for row in rows:
        for finding in findings_in(row):
            identity = "\0".join((row["test"], finding["gate"], finding["model"], finding["subject"]))
            found.append(
                {
                    "description": finding_text(finding),
                    "check_name": finding["gate"],
                    "fingerprint": hashlib.sha256(identity.encode()).hexdigest(),
                    "severity": _SEVERITY[finding["verdict"]],
                    "location": {"path": row["file"], "lines": {"begin": row["line"]}},
                }
            )
    return json.dumps(found, indent=2) + "\n"


def benchmark(rows: Sequence[dict[str, Any]]) -> str:
    """Nodes, bytes and times of each model, smaller is better, as github-action-benchmark and Bencher read them."""
    return json.dumps([entry for model in models_of(rows) for entry in _entries(model)], indent=2) + "\n"


def _entries(model: dict[str, Any]) -> Iterator[dict[str, object]]:
    label = f"{model['name']} [{model['exporter']}]"
    for stage, part in (("exported", "before"), ("optimized", "after")):
        if nodes := model.get("nodes"):
            yield {"name": f"{label}: nodes, {stage}", "unit": "nodes", "value": nodes[part]}
        if weights := model.get("initializer_bytes"):
            yield {"name": f"{label}: initializers, {stage}", "unit": "bytes", "value": weights[part]}
    if pace := model.get("generation"):
        yield {"name": f"{label}: first token", "unit": "ms", "value": pace["first_token_ms"]}
        yield {"name": f"{label}: each further token", "unit": "ms", "value": pace["next_token_ms"]}
    for step, seconds in model.get("seconds", {}).items():
        yield {"name": f"{label}: {step}", "unit": "s", "value": seconds}
