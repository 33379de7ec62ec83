"""The module-level op table: what each module of a model contributes to its ONNX graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.graph.counts import is_constant
from pytest_modelcheck.hierarchy.folded_rows import natural_key
from pytest_modelcheck.hierarchy.node_labels import Weights, node_labels
from pytest_modelcheck.hierarchy.report import HierarchyReport
from pytest_modelcheck.hierarchy.value_names import named_outputs


@dataclass(frozen=True, slots=True)
class ModuleRow:
    """One module's share of the graph.

    Attributes:
        path: Module path, ``""`` for the root module, None for nodes that no module is known to own.
        class_name: Name of the module's class; ``""`` where it is not known.
        ops: (operator label, count), sorted by label; empty for a module that ran and owns no node. A label shows the
            attributes that matter and small constants (`node_labels.py`).
    """

    path: str | None
    class_name: str
    ops: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ModuleTable:
    """One row per module that ran or owns a node, in natural order of the paths.

    Counted are all nodes but Constants, shape plumbing included; a fused node counts for its primary owner. An Identity
    of an initializer is left out: torchscript writes equal weights once, and such a node for each further name, so that
    a fresh model has some that a trained one has not.
    """

    rows: tuple[ModuleRow, ...]

    @classmethod
    def of(cls, rows: Iterable[ModuleRow]) -> ModuleTable:
        """A table of `rows` in any order.

        Raises:
            ValueError: if a path occurs twice.
        """
        ordered = tuple(sorted(rows, key=lambda row: natural_key(row.path)))
        paths = [row.path for row in ordered]
        if len(set(paths)) < len(paths):
            raise ValueError(f"path {next(path for path in paths if paths.count(path) > 1)!r} has two rows")
        return cls(ordered)

    @property
    def by_path(self) -> Mapping[str | None, ModuleRow]:
        """Path -> its row."""
        return {row.path: row for row in self.rows}

    @property
    def nodes(self) -> int:
        """How many nodes the table counts."""
        return sum(count for row in self.rows for _, count in row.ops)


def module_table(model: ir.Model, report: HierarchyReport) -> ModuleTable:
    """The table of `model`, with the owners that `report` gives its nodes.

    Every module that ran has a row, also one that only passed its input through: an `nn.Identity` that someone inserts
    changes no node, and still shows here.
    """
    counts: dict[str | None, Counter[str]] = {}
    if report.calls is not None:
        counts.update({path: Counter() for path in report.calls.ran})
    labels = node_labels(model, Weights.of(None if report.calls is None else report.calls.weights))
    for node, keys in named_outputs(model):
        if is_constant(node) or _names_a_weight(node):
            continue
        owner = next((found for key in keys if (found := report.owner(key)) is not None), None)
        path = owner.path if owner is not None and owner.known else None
        counts.setdefault(path, Counter())[labels[node]] += 1
    classes = {} if report.calls is None else report.calls.classes
    return ModuleTable.of(
        ModuleRow(path, classes.get(path, "") if path is not None else "", tuple(sorted(ops.items())))
        for path, ops in counts.items()
    )


def _names_a_weight(node: ir.Node) -> bool:
    return (
        node.op_type == "Identity"
        and not node.domain
        and any(v is not None and v.is_initializer() for v in node.inputs)
    )
