"""The graphs of a case: exported, optimized, who owns their nodes, and the torch graph as fused subgraphs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from pytest_modelcheck.accuracy.stages import flat_arrays
from pytest_modelcheck.attribution import Attribution, attribute
from pytest_modelcheck.calling.sizes import Sizes
from pytest_modelcheck.check.results import Results
from pytest_modelcheck.check.reusing import Reuse
from pytest_modelcheck.check.settings import Settings
from pytest_modelcheck.check.sources import Inputs, Source
from pytest_modelcheck.export import Exported, ExportFailure
from pytest_modelcheck.export.keeping import handed_in
from pytest_modelcheck.figures import (
    attribution_figures,
    export_figures,
    fusion_figures,
    hierarchy_figures,
    owner_figures,
)
from pytest_modelcheck.fusion import FusionReport, analyse
from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.hierarchy import (
    HierarchyReport,
    ModuleCalls,
    ModuleTable,
    PipelineHierarchy,
    StageWatch,
    hierarchy,
    module_table,
    stamp,
)
from pytest_modelcheck.model_case import EXAMPLE_SEED
from pytest_modelcheck.passes import passes_for
from pytest_modelcheck.pipeline import AnyPass, PassStatus
from pytest_modelcheck.pipeline.freezing import freezing
from pytest_modelcheck.result import Finding, FindingError
from pytest_modelcheck.runtimes import signature_of
from pytest_modelcheck.runtimes.freed_memory import release_mapped_weights
from pytest_modelcheck.store import Store


@dataclass(frozen=True, slots=True)
class _Optimized:
    attribution: Attribution
    path: Path
    owners: PipelineHierarchy


@dataclass(frozen=True, slots=True)
class Graphs:
    """The export of a case and what the pipeline makes of it. No graph that it hands out may be edited."""

    settings: Settings
    source: Source
    results: Results

    @property
    def export(self) -> Exported | ExportFailure:
        """The export, or why there is none."""
        cache = None if self.settings.cache is None else Store(self.settings.cache)
        return self.results.once("export", lambda: self.source.export(cache), step="export", figures=export_figures)

    @property
    def exported(self) -> Exported:
        """The export.

        Raises:
            FindingError: if it failed.
        """
        result = self.export
        if isinstance(result, ExportFailure):
            found = f"{result.kind}: {result.reason}"
            raise self.settings.error("export", "an ONNX model", found, (result.where,), result.next)
        return result

    @property
    def reuse(self) -> Reuse:
        """The results of an earlier run that this one may take."""

        def make() -> Reuse:
            made_here = self.settings.cache is not None and self.exported.case.onnx_path is None
            return Reuse(self.exported, active=made_here and not self.exported.key.uncacheable)

        return self.results.once(
            "reuse", make, figures=lambda reuse: {"reused": list(reuse.taken), "not_kept": list(reuse.notes)}
        )

    def inputs(self, seed: int, sizes: Sizes | None = None) -> Inputs:
        """The inputs of one seed, by name; for a bare .onnx file drawn from its signature.

        Args:
            seed: Which ones.
            sizes: Dimension -> size that is asked for; of a case that `offers_sizes` alone.
        """
        return self.source.inputs(seed, self.exported, sizes)

    @property
    def exported_model(self) -> ir.Model:
        """The exported graph, its nodes stamped with their owners."""
        return self.results.once("exported model", lambda: stamp(self._read, self.hierarchy))

    @property
    def _read(self) -> ir.Model:
        """The file's graph, for `hierarchy`, and then stamped."""
        return self.results.once("read model", lambda: self.exported.model)

    @property
    def calls(self) -> ModuleCalls | None:
        """Which modules ran; None where there is no module."""
        return None if self.source.torch is None else self.source.torch.calls

    @property
    def hierarchy(self) -> HierarchyReport:
        """Who owns each node of the exported graph."""
        return self.results.once(
            "hierarchy",
            lambda: hierarchy(self.exported, model=self._read, calls=self.calls),
            step="hierarchy",
            figures=hierarchy_figures,
        )

    @property
    def passes(self) -> Sequence[AnyPass] | None:
        """The pipeline; None for the default. For ``tflite``, axes are frozen to the sizes of the example inputs."""
        if self.settings.target != "tflite" or self.settings.passes is not None:
            return self.settings.passes
        arrays = flat_arrays(self.inputs(EXAMPLE_SEED))
        sizes = {
            dim: array.shape[axis]
            for port in signature_of(self.exported.model).inputs
            if (array := arrays.get(port.name)) is not None
            for axis, dim in enumerate(port.shape)
            if isinstance(dim, str) and array.shape[axis]
        }
        passes = passes_for("tflite")
        return freezing(passes, sizes, "tflite", self.exported.model) if sizes else passes

    @property
    def _optimized(self) -> _Optimized:
        def make() -> _Optimized:
            model, calls = self.exported_model, self.calls

            def run() -> tuple[Attribution, PipelineHierarchy]:
                watch = StageWatch(calls)
                target = self.settings.target
                made = attribute(model, passes=self.passes, target=target, leave_one_out=False, watch=watch)
                return made, watch.result()

            attribution, owners, path = self.reuse.attribution(self.passes, self.settings.target, run)
            release_mapped_weights(model)
            release_mapped_weights(attribution.optimized)
            return _Optimized(attribution, path, owners)

        def shown(made: _Optimized) -> dict[str, object]:
            names = [row.name for row in made.attribution.passes]
            return attribution_figures(made.attribution) | owner_figures(made.owners, names)

        return self.results.once("optimized", make, step="passes", figures=shown)

    @property
    def attribution(self) -> Attribution:
        """What each pass did, alone and in its place."""
        return self._optimized.attribution

    @property
    def optimized_path(self) -> Path:
        """The file of the optimized graph; it shares the weights of the exported one where they are the same."""
        return self._optimized.path

    @property
    def pass_owners(self) -> PipelineHierarchy:
        """What each pass did to the owners of nodes, and to which modules."""
        return self._optimized.owners

    @property
    def optimized(self) -> ir.Model:
        """The graph after the pipeline.

        Raises:
            FindingError: if a pass failed: there is no graph that the whole pipeline made.
        """
        if failed := self.failed_passes("pipeline"):
            raise FindingError(failed[0])
        return self.attribution.optimized

    def failed_passes(self, gate: str) -> tuple[Finding, ...]:
        """One error for each pass of the pipeline that failed, in the name of `gate`."""
        rows = [row for row in self.attribution.passes if row.status is PassStatus.ERROR]
        errors = [
            self.settings.error(row.name, "a valid graph", row.error or "an error", next_step=_REPAIR) for row in rows
        ]
        return tuple(dataclasses.replace(error.finding, gate=gate) for error in errors)

    @property
    def optimized_hierarchy(self) -> HierarchyReport:
        """Who owns each node after the pipeline."""
        return self.results.once(
            "optimized hierarchy", lambda: hierarchy(self.exported, model=self.optimized, calls=self.calls)
        )

    def owners(self, stage: str) -> HierarchyReport:
        """Who owns each node of the ``exported`` or the ``optimized`` graph."""
        return self.hierarchy if stage == "exported" else self.optimized_hierarchy

    def modules(self, stage: str = "exported") -> ModuleTable:
        """What each module contributes to the ``exported`` or the ``optimized`` graph."""
        return self.results.once(("modules", stage), lambda: module_table(self.graph(stage), self.owners(stage)))

    def graph(self, stage: str) -> ir.Model:
        """The ``exported`` or the ``optimized`` graph."""
        return self.exported_model if stage == "exported" else self.optimized

    def op_counts(self, stage: str) -> dict[str, int]:
        """Operator -> count at a stage, Constants left out."""
        return op_counts(self.graph(stage))

    @property
    def fusion(self) -> FusionReport:
        """The torch graph with attention written out, partitioned into fused subgraphs.

        Raises:
            FindingError: where there is no module, or torch cannot capture it.
        """

        def partitioned() -> FusionReport:
            if self.source.torch is None:
                found = f"{self.settings.model}: is an .onnx file and has no torch module"
                raise self.settings.error("build", "a working model case", found)
            captured = self.source.torch.captured
            return self.settings.working("fusion", lambda: analyse(captured))

        def make() -> FusionReport:
            side = self.source.torch
            # A module whose export fails has a torch graph all the same; only what is kept lies beside an export.
            if side is None or isinstance(self.export, ExportFailure):
                return partitioned()
            return self.reuse.fusion(partitioned, lambda: handed_in(side.case, side.module, side.example))

        return self.results.once("fusion", make, step="partition", figures=fusion_figures)


_REPAIR = "The pipeline went on from the model before this pass. Repair the pass, or take it out."
