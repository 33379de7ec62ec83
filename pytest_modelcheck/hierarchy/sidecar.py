"""``<model>.hierarchy.json``: the owners of a model beside its file, for tools that drop what a model carries.

The owners are keyed by output value; the module tree and the recorded forward pass are with them, so that a model which
an optimizer has rewritten since can be given owners again without torch and without the module.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx_ir as ir

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.graph.counts import all_nodes, op_label
from pytest_modelcheck.hierarchy.alignment import TorchOp
from pytest_modelcheck.hierarchy.calls import ModuleCalls
from pytest_modelcheck.hierarchy.find_owners import hierarchy_of_model, report_on
from pytest_modelcheck.hierarchy.owners import Owner, OwnerKind
from pytest_modelcheck.hierarchy.report import HierarchyReport
from pytest_modelcheck.hierarchy.strategies import StrategyName
from pytest_modelcheck.hierarchy.value_names import named_outputs

SCHEMA = 1
"""Raised when a field changes its meaning or goes away."""

VERSIONED = ("torch", "onnx", "onnx_ir", "onnxscript", "transformers")


class SidecarError(ModelCheckError):
    """A file that is not a sidecar of ours, or of another schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What a sidecar holds.

    Attributes:
        owners: Output value -> owner, as `HierarchyReport.owners`.
        calls: The recorded forward pass; None where there was no torch module.
        graph: Fingerprint of the graph that the owners are of.
        versions: Library -> version that found them.
        statistics: Coverage, kinds, evidence and modules, as written; for readers, not read again.
    """

    owners: Mapping[str, Owner]
    calls: ModuleCalls | None
    graph: str
    versions: Mapping[str, str] = field(default_factory=dict)
    statistics: Mapping[str, Any] = field(default_factory=dict)


def sidecar_path(model: str | Path) -> Path:
    """Where the sidecar of a model file lies: ``bert.onnx`` -> ``bert.hierarchy.json``, beside it."""
    return Path(model).with_suffix(".hierarchy.json")


def write_sidecar(path: str | Path, model: ir.Model, report: HierarchyReport) -> Path:
    """Write the sidecar of the model file `path`.

    Args:
        path: The .onnx file.
        model: Its graph.
        report: The owners of its nodes.

    Returns:
        The path of the sidecar.
    """
    statistics = {
        "strategy": report.strategy,
        "why": report.why,
        "coverage": report.coverage,
        "kinds": dict(report.kinds),
        "evidence": dict(report.evidence),
        "plumbing": report.plumbing,
        "constants": report.constants,
        "modules_ran": len(report.modules_ran),
        "modules_covered": len(report.modules_covered),
        "modules_uncovered": list(report.modules_uncovered),
    }
    content = {
        "schema": SCHEMA,
        "versions": _versions(),
        "graph": fingerprint(model),
        "statistics": statistics,
        "modules": None if report.calls is None else _tree(report.calls, report.excused),
        "forward": None if report.calls is None else _forward(report.calls),
        "owners": {key: _owner_row(owner) for key, owner in report.owners.items()},
    }
    written = sidecar_path(path)
    written.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return written


def read_sidecar(path: str | Path) -> Sidecar:
    """The sidecar in the file `path`.

    Raises:
        SidecarError: naming what is wrong with the file.
        OSError: if it cannot be read.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise SidecarError(f"{path}: schema {content['schema']!r}; this version reads {SCHEMA}. Write it again.")
        return Sidecar(
            owners={key: _read_owner(row) for key, row in content["owners"].items()},
            calls=None if content["forward"] is None else _read_calls(content["modules"], content["forward"]),
            graph=content["graph"],
            versions=content["versions"],
            statistics=content["statistics"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SidecarError(f"{path} is not a hierarchy sidecar: {type(error).__name__}: {error}") from error


def reattach(model: ir.Model, sidecar: Sidecar, *, strategy: StrategyName = "auto") -> HierarchyReport:
    """The owners of `model`, from the sidecar of the model that it is, or was made of.

    In the very graph that the sidecar is of, each owner is of the kind that was written. In any other, an owner found
    by the name of its value is a deduction.

    Raises:
        OptionError: on an unknown strategy.
    """
    if fingerprint(model) != sidecar.graph:
        return hierarchy_of_model(model, sidecar.calls, before=sidecar, strategy=strategy)
    known = {
        node: replace(owner, how="sidecar")
        for node, keys in named_outputs(model)
        if (owner := next((sidecar.owners[key] for key in keys if key in sidecar.owners), None)) and owner.known
    }
    return report_on(model, sidecar.calls, known, strategy)


def fingerprint(model: ir.Model) -> str:
    """Of the graph's operators and connections by name; weights and attributes are left out."""
    digest = hashlib.sha256()
    for part in _structure(model):
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _structure(model: ir.Model) -> Iterator[str]:
    for node in all_nodes(model):
        yield op_label(node)
        yield from (f"<{value.name if value is not None else ''}" for value in node.inputs)
        yield from (f">{value.name or ''}" for value in node.outputs)


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _tree(calls: ModuleCalls, excused: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Module path -> class, number of calls, and why it needs no node, where it does not."""
    tree: dict[str, dict[str, Any]] = {
        path: {"class": name, "calls": calls.counts.get(path, 0)} for path, name in calls.classes.items()
    }
    for path, reason in excused.items():
        tree[path]["excused"] = reason
    return tree


def _forward(calls: ModuleCalls) -> dict[str, Any]:
    return {
        "order": list(calls.counts),
        "parameters": dict(calls.parameters),
        "weights": None if calls.weights is None else dict(calls.weights),
        "stacks": [[list(stack), count] for stack, count in calls.stacks.items()],
        "passed_through": sorted(calls.passed_through),
        "unused": sorted(calls.unused),
        "constant": sorted(calls.constant),
        "norm_sources": dict(calls.norm_sources),
        "pad_readers": dict(calls.pad_readers),
        "operators": [[op.name, op.path, op.call, op.constant] for op in calls.trace],
    }


def _read_calls(modules: Mapping[str, Any], forward: Mapping[str, Any]) -> ModuleCalls:
    return ModuleCalls(
        classes={path: row["class"] for path, row in modules.items()},
        parameters=forward["parameters"],
        weights=forward.get("weights"),  # sidecars of version 0.1 have none
        stacks={tuple(stack): count for stack, count in forward["stacks"]},
        counts={path: modules[path]["calls"] for path in forward["order"]},
        passed_through=frozenset(forward["passed_through"]),
        unused=frozenset(forward["unused"]),
        constant=frozenset(forward["constant"]),
        norm_sources=forward["norm_sources"],
        pad_readers=forward["pad_readers"],
        trace=tuple(TorchOp(*row) for row in forward["operators"]),
    )


def _owner_row(owner: Owner) -> dict[str, Any]:
    row: dict[str, Any] = {"path": owner.path, "kind": owner.kind.value, "how": owner.how}
    return row | ({"others": list(owner.others)} if owner.others else {}) | ({"call": owner.call} if owner.call else {})


def _read_owner(row: Mapping[str, Any]) -> Owner:
    return Owner(row["path"], OwnerKind(row["kind"]), tuple(row.get("others", ())), row["how"], row.get("call", 0))
