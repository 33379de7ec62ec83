"""The graphs of a case: exported, optimized, who owns their nodes, and the torch graph as fused subgraphs."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path

import onnx_ir as ir

from pytest_modelcheck.attribution import Attribution, attribute
from pytest_modelcheck.check.reusing import Reuse
from pytest_modelcheck.check.torch_side import TorchSide
from pytest_modelcheck.export import ExportCache, Exported, ExportFailure, export
from pytest_modelcheck.fusion import FusionReport, analyse
from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.hierarchy import (
    HierarchyReport,
    ModuleTable,
    PipelineHierarchy,
    StageWatch,
    hierarchy,
    module_table,
    stamp,
)
from pytest_modelcheck.interface import Interface, interface_of
from pytest_modelcheck.pipeline import PassStatus
from pytest_modelcheck.result import Finding, FindingError
from pytest_modelcheck.runtimes.freed_memory import release_mapped_weights


class GraphSide(TorchSide):
    """The export of the case and what the pipeline makes of it."""

    @cached_property
    def export(self) -> Exported | ExportFailure:
        """The export, or why there is none."""
        with self._step("export"):
            if self.case.onnx_path is not None:
                return export(self.case)
            cache = None if self.cache is None else ExportCache(self.cache)
            return export(self.case, module=self.module, cache=cache)

    @property
    def exported(self) -> Exported:
        """The export.

        Raises:
            FindingError: if it failed.
        """
        result = self.export
        if isinstance(result, ExportFailure):
            where = (result.where,) if result.where else ()
            raise FindingError(
                self._error("export", "an ONNX model", f"{result.kind}: {result.reason}", where, result.next)
            )
        return result

    @cached_property
    def _reuse(self) -> Reuse:
        exported = self.exported
        kept = self.cache is not None and self.case.onnx_path is None and not exported.key.uncacheable
        return Reuse(exported, active=kept)

    @cached_property
    def exported_model(self) -> ir.Model:
        """The exported graph, its nodes stamped with their owners. Not to be edited."""
        return stamp(self.exported.model, self.hierarchy)

    @cached_property
    def hierarchy(self) -> HierarchyReport:
        """Who owns each node of the exported graph."""
        exported, calls = self.exported, self.calls
        with self._step("hierarchy"):
            return hierarchy(exported, calls=calls)

    @property
    def attribution(self) -> Attribution:
        """What each pass did, alone and in its place."""
        return self._attributed[0]

    @property
    def optimized_path(self) -> Path:
        """The file of the optimized graph; it shares the weights of the exported one where they are the same."""
        return self._attributed[1]

    @cached_property
    def _attributed(self) -> tuple[Attribution, Path, PipelineHierarchy]:
        model, calls = self.exported_model, self.calls

        def make() -> tuple[Attribution, PipelineHierarchy]:
            watch = StageWatch(calls)
            made = attribute(model, passes=self.passes, target=self.target, leave_one_out=False, watch=watch)
            return made, watch.result()

        with self._step("passes"):
            attribution, owners, path = self._reuse.attribution(self.passes, self.target, make)
        release_mapped_weights(model)
        release_mapped_weights(attribution.optimized)
        return attribution, path, owners

    @property
    def pipeline_hierarchy(self) -> PipelineHierarchy:
        """What each pass did to the owners of nodes, and to which modules."""
        return self._attributed[2]

    @property
    def optimized(self) -> ir.Model:
        """The graph after the pipeline. Not to be edited.

        Raises:
            FindingError: if a pass failed: there is no graph that the whole pipeline made.
        """
        findings = self.pipeline_findings("pipeline")
        if findings:
            raise FindingError(findings[0])
        return self.attribution.optimized

    @cached_property
    def optimized_hierarchy(self) -> HierarchyReport:
        """Who owns each node after the pipeline."""
        return hierarchy(self.exported, model=self.optimized, calls=self.calls)

    @cached_property
    def modules(self) -> ModuleTable:
        """What each module contributes to the exported graph."""
        return module_table(self.exported_model, self.hierarchy)

    @cached_property
    def interface(self) -> Interface:
        """What the export promises to whoever runs it."""
        return interface_of(self.exported_model)

    def modules_at(self, stage: str) -> ModuleTable:
        """The same for the ``exported`` or the ``optimized`` graph."""
        return self.modules if stage == "exported" else module_table(self.optimized, self.optimized_hierarchy)

    def graph(self, stage: str) -> ir.Model:
        """The ``exported`` or the ``optimized`` graph."""
        return self.exported_model if stage == "exported" else self.optimized

    def op_counts(self, stage: str) -> dict[str, int]:
        """Operator -> count at a stage, Constants left out."""
        return op_counts(self.graph(stage))

    def pipeline_findings(self, gate: str) -> tuple[Finding, ...]:
        """One error for each pass of the pipeline that failed."""
        return tuple(
            dataclasses.replace(
                self._error(
                    row.name,
                    "a valid graph",
                    row.error or "an error",
                    next_step="The pipeline went on from the model before this pass. Repair the pass, or take it out.",
                ),
                gate=gate,
            )
            for row in self.attribution.passes
            if row.status is PassStatus.ERROR
        )

    @cached_property
    def fusion(self) -> FusionReport:
        """The torch graph with attention written out, partitioned into fused subgraphs."""
        # A module whose export fails has a torch graph all the same; only what is kept lies beside an export.
        export = self.export
        if isinstance(export, ExportFailure):
            return self._partitioned()
        return self._reuse.fusion(self._partitioned)

    def _partitioned(self) -> FusionReport:
        captured = self.captured
        with self._step("partition"):
            return self._or_finding("fusion", lambda: analyse(captured))
