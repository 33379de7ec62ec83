"""The figures of one model as plain data: what stands in the terminal summary and in the JSON report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.export import ExportFailure
from pytest_modelcheck.report.module_tree import tree_lines

if TYPE_CHECKING:
    from pytest_modelcheck.accuracy import SweepReport
    from pytest_modelcheck.attribution import Attribution
    from pytest_modelcheck.export import Exported
    from pytest_modelcheck.fusion import FusionReport
    from pytest_modelcheck.hierarchy import HierarchyReport, PipelineHierarchy
    from pytest_modelcheck.latency import PairedLatency, RunTimes, Throughput

_DRAWN_WHOLE = 30
"""A model without a module worth drawing is drawn whole up to this many subgraphs."""


def measured_figures(
    *,
    export: Exported | ExportFailure | None,
    attribution: Attribution | None,
    hierarchy: HierarchyReport | None,
    pipeline_hierarchy: PipelineHierarchy | None,
    fusion: FusionReport | None,
    sweep: SweepReport | None,
    latency: PairedLatency | None,
    seconds: Mapping[str, float],
    regression: PairedLatency | None = None,
    throughput: Sequence[Throughput] = (),
    reused: Sequence[str] = (),
) -> dict[str, Any]:
    """What was measured of one model; what is None was not, and has no entry.

    Args:
        export, attribution, hierarchy, pipeline_hierarchy, fusion, sweep, latency: Results.
        seconds: Step -> wall seconds.
        regression: Today's graph over the locked one.
        throughput: At the batch sizes that were asked for.
        reused: What an earlier run had measured under the same key.
    """
    figures: dict[str, Any] = {}
    if isinstance(export, ExportFailure):
        figures["failure"] = failure_figures(export)
    elif export is not None:
        figures["export"] = {
            "key": export.key.digest,
            "cached": export.cached,
            "why": list(export.why),
            "seconds": round(export.seconds, 3),
            "warnings": list(export.warnings),
        }
    if attribution is not None:
        figures |= attribution_figures(attribution)
    if hierarchy is not None:
        figures["hierarchy"] = hierarchy_figures(hierarchy)
    if pipeline_hierarchy is not None and attribution is not None:
        figures |= pipeline_hierarchy_figures(pipeline_hierarchy, [row.name for row in attribution.passes])
    if fusion is not None:
        figures |= fusion_figures(fusion)
    if sweep is not None:
        figures["accuracy"] = accuracy_figures(sweep)
    if latency is not None:
        figures["latency"] = latency_figures(latency)
    if regression is not None:
        figures["regression"] = latency_figures(regression, ("today", "locked"))
    if throughput:
        figures["throughput"] = [
            {"batch": each.size, "exported_per_s": _number(each.exported), "optimized_per_s": _number(each.optimized)}
            for each in throughput
        ]
    figures["reused"] = list(reused)
    figures["seconds"] = {name: round(value, 3) for name, value in seconds.items()}
    return figures


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
    return {
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


def pipeline_hierarchy_figures(owners: PipelineHierarchy, passes: Sequence[str]) -> dict[str, Any]:
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


def accuracy_figures(report: SweepReport) -> dict[str, Any]:
    """The scaled maximal difference of each pair of stages; text where one is no number."""
    pairs = [
        {
            "reference": pair.reference,
            "candidate": pair.candidate,
            "step": pair.step,
            "scaled_max": _number(pair.scaled_max),
            "max_abs": _number(pair.max_abs),
            "worst_seed": pair.worst_seed,
            "passed": pair.passed,
        }
        for pair in report.pairs
    ]
    worst = max(
        (pair.scaled_max for pair in report.pairs), key=lambda v: math.inf if math.isnan(v) else v, default=None
    )
    return {
        "seeds": len(report.seeds),
        "variants": list(report.variants.values()),
        "passed": report.passed,
        "pairs": pairs,
        "notes": list(report.notes),
        "text": "failed" if worst is None else f"{worst:.1e}",
    }


def latency_figures(latency: PairedLatency, sides: tuple[str, str] = ("exported", "optimized")) -> dict[str, Any]:
    """The ratio of both sides with its interval, the noise measured beside it, and what each of them took."""
    low, high = latency.interval
    a, b = sides
    return {
        "ratio": _number(latency.ratio),
        "interval": [_number(low), _number(high)],
        "noise": [_number(end) for end in latency.noise],
        "pairs": latency.pairs,
        "rounds": latency.rounds,
        f"{a}_ms": _number(latency.a_ms),
        f"{b}_ms": _number(latency.b_ms),
        "times": {name: _times(each) for name, each in ((a, latency.a_times), (b, latency.b_times)) if each},
        "text": f"x{latency.ratio:.3f} [{low:.3f}, {high:.3f}]" if latency.pairs else "failed",
    }


def _times(times: RunTimes) -> dict[str, Any]:
    """Milliseconds of opening a session, of its first run, and of the runs after that."""
    return {name: _number(getattr(times, name)) for name in ("opening_ms", "first_ms", "p50_ms", "p95_ms", "p99_ms")}


def _number(value: float) -> float | str:
    """JSON has no NaN: such a figure becomes text, never null or zero."""
    return value if math.isfinite(value) else str(value)
