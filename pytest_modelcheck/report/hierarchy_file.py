"""The owners of a plain .onnx file, for the shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_modelcheck.figures import hierarchy_figures
from pytest_modelcheck.graph.files import load_model
from pytest_modelcheck.hierarchy import (
    StrategyName,
    hierarchy_of_model,
    module_table,
    read_sidecar,
    reattach,
    sidecar_path,
)
from pytest_modelcheck.hierarchy.module_tree import tree_lines


def file_figures(
    path: Path, *, strategy: StrategyName = "auto", sidecar: Path | None = None, depth: int | None = None
) -> dict[str, Any]:
    """Coverage and module tree of the model in `path`.

    Args:
        path: The .onnx file.
        strategy: ``precise``, ``broad``, or ``auto``.
        sidecar: Where the owners were written; None for the sidecar beside `path`, if there is one.
        depth: Levels of the tree below the root; None for all.

    Raises:
        InvalidModelError: if `path` is not a model.
        SidecarError: if the sidecar is none.
        OSError: if a file cannot be read.
    """
    model = load_model(path)
    found = sidecar or (sidecar_path(path) if sidecar_path(path).is_file() else None)
    if found is None:
        report = hierarchy_of_model(model, strategy=strategy)
    else:
        report = reattach(model, read_sidecar(found), strategy=strategy)
    return {
        **hierarchy_figures(report)["hierarchy"],
        "nodes": report.compute_nodes,
        "plumbing": report.plumbing,
        "reason": report.reason,
        "sidecar": "" if found is None else str(found),
        "tree": tree_lines(module_table(model, report), depth=depth),
    }


def file_lines(figures: dict[str, Any]) -> list[str]:
    """`file_figures` as lines."""
    kinds = ", ".join(f"{kind} {count}" for kind, count in figures["kinds"].items())
    evidence = ", ".join(f"{how} {count}" for how, count in figures["evidence"].items())
    optional = (("because", figures["reason"]), ("sidecar", figures["sidecar"]), ("from", evidence))
    return [
        *figures["tree"],
        "",
        f"coverage  {figures['text']} of {figures['nodes']} compute nodes ({kinds})",
        f"strategy  {figures['strategy']}: {figures['why']}",
        *(f"{name:<10}{text}" for name, text in optional if text),
    ]
