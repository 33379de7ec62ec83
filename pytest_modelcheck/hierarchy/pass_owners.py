"""What each pass of a pipeline does to owners: how many it loses, and which modules it changes."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from pytest_modelcheck.hierarchy.calls import ModuleCalls
from pytest_modelcheck.hierarchy.find_owners import hierarchy_of_model
from pytest_modelcheck.hierarchy.table import ModuleTable, module_table
from pytest_modelcheck.hierarchy.table_diff import diff_tables


@dataclass(frozen=True, slots=True, kw_only=True)
class StageHierarchy:
    """The owners after one pass.

    Attributes:
        nodes: Compute nodes.
        deduced: Those whose owner the passes so far lost, and that got one by deduction.
        unowned: Those that have no owner but the root, or none.
        changes: What the pass changed, module by module (`diff_tables`).
    """

    nodes: int
    deduced: int
    unowned: int
    changes: tuple[str, ...] = ()

    @property
    def coverage(self) -> float:
        """Share of the compute nodes that have an owner, from 0 to 1; 0 where there are none."""
        return (self.nodes - self.unowned) / self.nodes if self.nodes else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineHierarchy:
    """The owners through a pipeline.

    Attributes:
        start: Before the first pass.
        passes: After each pass, in pipeline order.
        before, after: The module tables of the two ends.
    """

    start: StageHierarchy
    passes: tuple[StageHierarchy, ...]
    before: ModuleTable
    after: ModuleTable

    def lost(self, index: int) -> int:
        """How many nodes more have lost their owner after pass `index` than before it; found again or not."""
        before = self.passes[index - 1] if index else self.start
        now = self.passes[index]
        return now.deduced + now.unowned - before.deduced - before.unowned


@dataclass(slots=True)
class StageWatch:
    """Looks at every stage of a pipeline: ``attribute(model, watch=StageWatch(calls))`` for a stamped model."""

    calls: ModuleCalls | None
    _stages: list[StageHierarchy] = field(default_factory=list)
    _tables: list[ModuleTable] = field(default_factory=list)
    _last: ir.Model | None = None

    def __call__(self, index: int, model: ir.Model) -> None:
        if model is self._last:
            stage = self._stages[-1]
            self._stages.append(StageHierarchy(nodes=stage.nodes, deduced=stage.deduced, unowned=stage.unowned))
            return
        report = hierarchy_of_model(model, self.calls, strategy="broad")
        table = module_table(model, report)
        kinds, evidence = report.kinds, report.evidence
        known = kinds["direct"] + kinds["inherited"]
        self._stages.append(
            StageHierarchy(
                nodes=report.compute_nodes,
                deduced=known - evidence.get("stamp", 0) - evidence.get("exporter", 0),
                unowned=kinds["root"] + kinds["none"],
                changes=diff_tables(self._tables[-1], table) if self._tables else (),
            )
        )
        self._tables.append(table)
        self._last = model

    def result(self) -> PipelineHierarchy:
        """What was seen.

        Raises:
            ValueError: if nothing was.
        """
        if not self._stages:
            raise ValueError("no stage was seen: pass this object as attribute(..., watch=...)")
        return PipelineHierarchy(
            start=self._stages[0], passes=tuple(self._stages[1:]), before=self._tables[0], after=self._tables[-1]
        )
