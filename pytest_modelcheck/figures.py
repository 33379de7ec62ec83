"""The figures of exports and graphs as plain data: what reports show of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.hierarchy.module_tree import tree_lines

if TYPE_CHECKING:
    from pytest_modelcheck.attribution import Attribution
    from pytest_modelcheck.export import Exported, ExportFailure
    from pytest_modelcheck.fusion import FusionReport
    from pytest_modelcheck.hierarchy import HierarchyReport, PipelineHierarchy

_DRAWN_WHOLE = 30
"""A model without a module worth drawing is drawn whole up to this many subgraphs."""


def export_figures(export: Exported | ExportFailure) -> dict[str, Any]:
    """The export's key, whether it was kept, and its warnings; or why there is none."""
    from pytest_modelcheck.export import ExportFailure  # torch: the figures of a file need none

    if isinstance(export, ExportFailure):
        return {"failure": failure_figures(export)}
    figures = {
        "key": export.key.digest,
        "cached": export.cached,
        "why": list(export.why),
        "seconds": round(export.seconds, 3),
        "warnings": list(export.warnings),
    }
    return {"export": figures}


def failure_figures(failure: ExportFailure) -> dict[str, Any]:
    """A failed export: kind, the cause in a sentence, and the exporter's own words."""
    return {
        "kind": str(failure.kind),
        "reason": failure.reason,
        "where": failure.where,
        "next": failure.next,
        "detail": failure.detail,
        "text": failure.render(),
    }


def attribution_figures(attribution: Attribution) -> dict[str, Any]:
    """Node counts, operators, bytes of initializers, and one row per pass."""
    return {
        "nodes": {
            "before": attribution.nodes_before,
            "after": attribution.nodes_after,
            "constants_before": attribution.constants_before,
            "constants_after": attribution.constants_after,
        },
        "operators": {"before": attribution.ops_before, "after": attribution.ops_after},
        "repeats": {op: attribution.ops_before.get(op, 0) for op in ("Expand", "Tile")},
        "initializer_bytes": {"before": attribution.bytes_before, "after": attribution.bytes_after},
        "passes": [
            {
                "name": row.name,
                "isolated": row.isolated,
                "in_order": row.in_order,
                "leave_one_out": row.leave_one_out,
                "operators": row.ops,
                "constants": row.constants,
                "initializer_bytes": row.bytes_after - row.bytes_before,
                "status": str(row.status),
                "reasons": [{"reason": reason, "count": count} for reason, count in row.reasons],
                "error": row.error,
                "notes": list(row.notes),
                "seconds": round(row.seconds, 4),
            }
            for row in attribution.passes
        ],
    }


def hierarchy_figures(report: HierarchyReport) -> dict[str, Any]:
    """Coverage with its numerator and denominator."""
    figures = {
        "coverage": report.coverage,
        "strategy": report.strategy,
        "why": report.why,
        "evidence": dict(report.evidence),
        "kinds": dict(report.kinds),
        "modules_ran": len(report.modules_ran),
        "modules_covered": len(report.modules_covered),
        "modules_uncovered": list(report.modules_uncovered),
        "text": f"{100 * report.coverage:.1f}%" if report.compute_nodes else "no compute node",
    }
    return {"hierarchy": figures}


def owner_figures(owners: PipelineHierarchy, passes: Sequence[str]) -> dict[str, Any]:
    """What each pass did to the owners of nodes, and the tree of modules before and after all of them."""
    rows = [
        {
            "name": name,
            "coverage": stage.coverage,
            "lost": owners.lost(index),
            "deduced": stage.deduced,
            "unowned": stage.unowned,
            "changes": list(stage.changes),
        }
        for index, (name, stage) in enumerate(zip(passes, owners.passes, strict=True))
    ]
    return {"owners": rows, "tree": tree_lines(owners.before, owners.after)}


def fusion_figures(report: FusionReport) -> dict[str, Any]:
    """Subgraphs, their mean size, grouped attention layers; and a picture of one module's, for reports that show it."""
    from pytest_modelcheck.fusion import fusion_svg, pictured_owner

    owner = pictured_owner(report)
    figures = {
        "nodes": report.nodes,
        "subgraphs": len(report.subgraphs),
        "mean_size": round(report.mean_size, 4),
        "qkv": f"{report.qkv}/{report.attention_layers}",
    }
    pictures = []
    if owner or len(report.subgraphs) <= _DRAWN_WHOLE:
        caption = f"the subgraphs of {owner or 'the whole model'}"
        pictures.append({"caption": caption, "svg": fusion_svg(report, owner)})
    return {"fusion": figures, "pictures": pictures}


def json_number(value: float) -> float | str:
    """JSON has no NaN: such a figure becomes text, never null or zero."""
    return value if math.isfinite(value) else str(value)
