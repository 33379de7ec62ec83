"""A fusion report for a terminal, and as plain data for machines."""

from __future__ import annotations

from typing import Any

from pytest_modelcheck.fusion.report import FusionReport
from pytest_modelcheck.fusion.text import fusion_text, unfused_lines

_REASONS = 10


def report_figures(report: FusionReport) -> dict[str, Any]:
    """The report as plain data: JSON can hold all of it."""
    return {
        "name": report.name,
        "nodes": {"compute": report.nodes, "attention_whole": report.opaque_nodes, "bookkeeping": report.bookkeeping},
        "subgraphs": len(report.subgraphs),
        "mean_size": report.mean_size,
        "max_size": report.max_size,
        "gain": report.gain,
        "attention_layers": report.attention_layers,
        "qkv": report.qkv,
        "unfused": [{"owner": owner, "reason": reason} for owner, reason in report.unfused],
        "flops": report.flops,
        "internal_bytes": report.internal_bytes,
        "difference": report.difference,
        "not_compared": report.not_compared,
        "patterns": report.pattern_counts,
        "boundaries": report.boundary_counts,
        "each": [
            {
                "owner": subgraph.owner,
                "call": subgraph.call,
                "form": subgraph.form,
                "pattern": subgraph.pattern,
                "boundary": subgraph.boundary,
                "sources": list(subgraph.sources),
                "flops": subgraph.flops,
                "internal_bytes": subgraph.internal_bytes,
            }
            for subgraph in report.subgraphs
        ],
    }


def report_lines(report: FusionReport) -> list[str]:
    """The totals, what made the subgraphs and what ended them, and the rows of a snapshot."""
    whole = "" if report.opaque_nodes is None else f", {report.opaque_nodes} with attention left whole"
    gain = "" if report.gain is None else f" ({100 * report.gain:+.0f} % over the same graph without attention rules)"
    compared = _compared(report)
    lines = [
        f"{report.name}: {report.nodes} compute nodes{whole}; {report.bookkeeping} of bookkeeping",
        f"fused      {len(report.subgraphs)} subgraphs, mean size {report.mean_size:.2f}{gain}, "
        f"largest {report.max_size}",
        f"attention  {report.qkv} of {report.attention_layers} layers have their projections grouped",
        *(f"           not {line}" for line in unfused_lines(report)),
        f"cost       {_scaled(report.flops, 'FLOP')}; {_scaled(report.internal_bytes, 'B')} stay inside subgraphs",
        *([f"numerics   {compared}"] if compared else []),
        "",
        "made by",
        *(f"  {count:>5}  {pattern}" for pattern, count in list(report.pattern_counts.items())[:_REASONS]),
        "ended by",
        *(f"  {count:>5}  {reason}" for reason, count in list(report.boundary_counts.items())[:_REASONS]),
        "",
    ]
    return [*lines, *fusion_text(report).splitlines()[1:]]


def _compared(report: FusionReport) -> str:
    if report.not_compared:
        return f"not compared: {report.not_compared}"
    if report.difference is None:
        return ""
    return f"attention written out changes the outputs by {report.difference:.1e} of their scale"


def _scaled(figure: int | None, unit: str) -> str:
    """``"5.46 GFLOP"``; sizes that depend on data make it unknown."""
    if figure is None:
        return f"unknown {unit} (a size depends on data)"
    for prefix, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if figure >= factor:
            return f"{figure / factor:.2f} {prefix}{unit}"
    return f"{figure} {unit}"
