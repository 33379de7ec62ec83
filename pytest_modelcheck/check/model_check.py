"""`ModelCheck`: what the fixture `modelcheck` hands out."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import onnx_ir as ir

from pytest_modelcheck.attribution import Attribution
from pytest_modelcheck.check.file_and_module import named_after_its_file
from pytest_modelcheck.check.graphs import Graphs
from pytest_modelcheck.check.results import Figures, Results, merge_figures
from pytest_modelcheck.check.settings import Locked, Settings, installed_versions, libraries_of
from pytest_modelcheck.check.sources import Source
from pytest_modelcheck.check.torch_side import TorchSide
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.export import Exported
from pytest_modelcheck.fusion import FusionReport
from pytest_modelcheck.hierarchy import HierarchyReport, ModuleTable
from pytest_modelcheck.interface import Interface, interface_of
from pytest_modelcheck.latency import BaselineGraph
from pytest_modelcheck.model_case import Exporter, ModelCase
from pytest_modelcheck.numbers import Numbers, Weights, numbers_of, numbers_of_file, weights_of
from pytest_modelcheck.pipeline import AnyPass
from pytest_modelcheck.result import Finding, Verdict
from pytest_modelcheck.targets import Target

_T = TypeVar("_T")


class ModelCheck:
    """One model case under check; each result is computed on first use, and kept.

    Args:
        case: The case, as its author declared it.
        exporter: Instead of the case's own.
        target: What the optimized graph may contain.
        passes: The pipeline; None for the default.
        cache: Directory of kept exports and results; None for a temporary one.
        latency_budget: Seconds a latency measurement may take.
        export_timeout: Seconds an exporter may take; None for any.
        progress: Called with what is being done, in a few words; with the empty text when it is done.

    Attributes:
        case: With the exporter in force.
        settings: What the check is made under.
        source: How the case becomes an ONNX model; its `torch` is None for an .onnx file without a module.
        graphs: The exported and the optimized graph with all that is known of them.
        locked: What is locked for the running test.

    Example:
        >>> ModelCheck(ModelCase.from_onnx("model.onnx")).attribution.nodes_after
        334
    """

    def __init__(
        self,
        case: ModelCase,
        *,
        exporter: Exporter | None = None,
        target: Target = "portable",
        passes: Sequence[AnyPass] | None = None,
        cache: Path | None = None,
        latency_budget: float = 30.0,
        export_timeout: float | None = None,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        from_file = case.onnx_path is not None
        case = named_after_its_file(case)
        self.case = case if exporter is None or from_file else dataclasses.replace(case, exporter=exporter)
        self.settings = Settings(
            model=case.name,
            exporter="onnx" if from_file else self.case.exporter,
            target=target,
            passes=passes,
            cache=cache,
            latency_budget=latency_budget,
            export_timeout=export_timeout,
        )
        subject = f"modelcheck: {case.name} [{self.settings.exporter}]"
        self._results = Results(progress=lambda text: progress(f"{subject}: {text}" if text else ""))
        side = None if self.case.build is None else TorchSide(self.case, self.settings, self._results)
        self.source = Source(self.case, self._results, side, export_timeout)
        self.graphs = Graphs(self.settings, self.source, self._results)
        self.locked = Locked()

    # -- what users look at ------------------------------------------------------------------------------------------

    @property
    def exported(self) -> Exported:
        """The export. Raises `FindingError` if it failed."""
        return self.graphs.exported

    @property
    def optimized(self) -> ir.Model:
        """The graph after the pipeline, not to be edited. Raises `FindingError` if a pass failed."""
        return self.graphs.optimized

    @property
    def attribution(self) -> Attribution:
        """What each pass did, alone and in its place."""
        return self.graphs.attribution

    @property
    def hierarchy(self) -> HierarchyReport:
        """Which module owns each node of the exported graph."""
        return self.graphs.hierarchy

    @property
    def modules(self) -> ModuleTable:
        """What each module contributes to the exported graph."""
        return self.graphs.modules()

    @property
    def fusion(self) -> FusionReport:
        """The torch graph with attention written out, partitioned into fused subgraphs."""
        return self.graphs.fusion

    @property
    def interface(self) -> Interface:
        """What the export promises to whoever runs it."""
        return interface_of(self.graphs.exported_model)

    @property
    def numbers(self) -> Numbers:
        """What the module computes on ``inputs(0)`` with weights drawn by name; of a file its weights by digest."""
        side = self.source.torch
        if side is None:
            return self.once("numbers", lambda: numbers_of_file(self.exported.model), step="numbers")
        file = None if self.case.onnx_path is None else self.exported.model
        made = partial(numbers_of, self.case, lambda: side.module, file)
        return self.once("numbers", lambda: self.settings.working("numbers", made), step="numbers")

    @property
    def weights(self) -> Weights:
        """The weights that build() gives, a few numbers of each."""
        made = partial(weights_of, self.case, self.torch.module, self.numbers)
        return self.once("weights", lambda: self.settings.working("weights", made), step="weights")

    @property
    def baseline(self) -> BaselineGraph:
        """The optimized graph, to be locked without its weights and timed against later ones."""
        return BaselineGraph(self.optimized, self.settings.context)

    @property
    def lockable(self) -> tuple[str, ...]:
        """What ``assert modelcheck == modelcheck_snapshot`` locks: the names of properties above.

        The interface comes first: where it changed, it explains the others.
        """
        fusion = () if self.source.torch is None else ("fusion",)
        return ("interface", "modules", "attribution", *fusion, "numbers")

    @property
    def versions(self) -> dict[str, str]:
        """Library -> installed version: those that every report shows, and those whose classes the module is made of.

        The latter are known once the module is built.
        """
        side = self.source.torch
        own = () if side is None or not side.built else libraries_of(side.module)
        return {**self.settings.versions, **installed_versions(own)}

    # -- what gates ask ----------------------------------------------------------------------------------------------

    @property
    def torch(self) -> TorchSide:
        """The module with its inputs, its calls and its torch graph.

        Raises:
            ModelCaseError: for a case that is an .onnx file without a module.
        """
        if self.source.torch is None:
            raise ModelCaseError(f"{self.case.name}: is an .onnx file and has no torch module")
        return self.source.torch

    @contextlib.contextmanager
    def judging(self) -> Iterator[None]:
        """While the gates run, one after the other, and nothing of the test's."""
        self._results.untouched = not self._results.has("export")
        try:
            yield
        finally:
            self._results.untouched = False

    def once(
        self, key: Hashable, make: Callable[[], _T], *, step: str | None = None, figures: Figures | None = None
    ) -> _T:
        """A result that is computed once for all tests of the case; see `Results.once`."""
        return self._results.once(key, make, step=step, figures=figures)

    def finding(
        self,
        gate: str,
        subject: str,
        expected: object,
        found: str,
        *,
        stage: str | None = None,
        context: str | None = None,
        where: Sequence[str] = (),
        next: str = "",
        verdict: Verdict = Verdict.FAIL,
    ) -> Finding:
        """A finding about this model.

        Args:
            gate: Name of the marker.
            subject: What was measured.
            expected: The bound.
            found: The measurement, with its unit, or why there is none.
            stage: ``exported`` or ``optimized``: the context is that stage with what made it.
            context: Instead of `stage`; default: exporter and target.
            where, next, verdict: As in `Finding`.
        """
        if context is None:
            context = self.settings.context if stage is None else self.settings.stage_context(stage)
        return Finding(
            gate=gate,
            model=self.case.name,
            subject=subject,
            expected=str(expected),
            found=found,
            context=context,
            where=tuple(where),
            next=next,
            verdict=verdict,
        )

    def summary(self, more: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Everything measured so far, as plain data; what was not measured is not there.

        Args:
            more: Figures of single gates.
        """
        summary: dict[str, Any] = {
            "name": self.case.name,
            "exporter": self.settings.exporter,
            "target": self.settings.target,
            "versions": self.versions,
            "reused": [],
            "lockable": list(self.lockable),
        }
        for figures in (self._results.figures(), *more):
            merge_figures(summary, figures)
        return summary | {"seconds": {name: round(value, 3) for name, value in self._results.seconds.items()}}
