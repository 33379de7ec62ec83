"""`ModelCheck`: everything about one model case, each part computed on first use and kept.

This is where the rooms meet: the export feeds the hierarchy, whose owners ride through the passes; their result feeds
accuracy and latency. A part that cannot exist raises `FindingError`, with the finding to show; it never stands in for
itself with a zero.
"""

from __future__ import annotations

import dataclasses
import inspect
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import onnx_ir as ir
import torch

from pytest_modelcheck.accuracy import Subject, SweepReport, assess, standard_stages
from pytest_modelcheck.accuracy.stages import feeds_for
from pytest_modelcheck.attribution import Attribution, attribute
from pytest_modelcheck.bounds import Bound
from pytest_modelcheck.calling import ModuleInputs, build_module, module_inputs
from pytest_modelcheck.capture import Captured, CaptureFailure, capture
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.export import ExportCache, Exported, ExportFailure, export
from pytest_modelcheck.export.key import export_key
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
    modules_that_ran,
    stamp,
)
from pytest_modelcheck.model_case import EXAMPLE_SEED, Exporter, ModelCase
from pytest_modelcheck.parity import (
    CacheParity,
    CacheProtocol,
    Golden,
    GoldenReport,
    StateRoundtrip,
    cache_parity,
    check_golden,
    load_state,
    save_state,
    state_roundtrip,
)
from pytest_modelcheck.performance import (
    BaselineGraph,
    FreshSession,
    PairedLatency,
    evaluate_regression,
    evaluate_speedup,
    locked_graph,
    measure_paired,
    module_times,
    node_owners,
    slower_modules,
)
from pytest_modelcheck.pipeline import AnyPass, PassStatus
from pytest_modelcheck.report.figures import measured_figures
from pytest_modelcheck.result import Finding, FindingError, Verdict
from pytest_modelcheck.reusing import Reuse
from pytest_modelcheck.runtime import Session, inputs_from_signature, open_session
from pytest_modelcheck.runtime.memory import release_mapped_weights, return_freed_memory
from pytest_modelcheck.targets import Target

VERSIONED = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "transformers")
"""Libraries whose version stands in reports and snapshots, where they are installed."""

_T = TypeVar("_T")


def _own_cores() -> int:
    """Cores that this process may use, shared with the other workers of an xdist run."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


@contextmanager
def _own_trace() -> Iterator[None]:
    """Keep torch's structured trace, which is for tools and always at level DEBUG, to torch's own handlers.

    pytest attaches its capturing handler to loggers that do not propagate, too (pytest 9), and would show hundreds of
    lines below every failure.
    """
    trace = logging.getLogger("torch.__trace")
    handlers = trace.handlers[:]
    trace.handlers[:] = [handler for handler in handlers if type(handler).__module__.startswith("torch.")]
    try:
        yield
    finally:
        trace.handlers[:] = handlers


class ModelCheck:
    """One model case under check.

    Args:
        case: The case, as its author declared it.
        exporter: Instead of the case's own.
        target: What the optimized graph may contain.
        passes: The pipeline; None for the default.
        cache: Directory of cached exports; None for a temporary one.
        latency_budget: Seconds a latency measurement may take.
        progress: Is told what is being done, in a few words; the empty text when it is done.
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
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.declared_case = case
        self.case = case if exporter is None or case.onnx_path else dataclasses.replace(case, exporter=exporter)
        self.target: Target = target
        self.passes = passes
        self.cache = cache
        self.latency_budget = latency_budget
        self.recorded: Callable[[str], str | None] | None = None  # kind -> what is locked for the running test
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._failed: dict[str, FindingError] = {}  # a build that fails once is not tried again for each gate
        self._latency: PairedLatency | None = None
        self._sweeps: dict[tuple[str, str, int, bool], SweepReport] = {}
        self._parity: dict[str, str] = {}  # what was compared -> its figures in one clause

    # -- words for findings and reports ---------------------------------------------------------------------------

    @property
    def label(self) -> str:
        """The model's name in findings."""
        return self.case.name

    @property
    def exporter(self) -> str:
        """``dynamo``, ``torchscript``, or ``onnx`` for a file."""
        return "onnx" if self.case.onnx_path is not None else self.case.exporter

    @property
    def context(self) -> str:
        """Exporter and target, as findings name them."""
        return f"{self.exporter}, target {self.target}"

    def stage_context(self, stage: str) -> str:
        """The stage with what made it: ``"optimized, dynamo, target portable"``."""
        return f"{stage}, {self.context}" if stage == "optimized" else f"{stage}, {self.exporter}"

    @cached_property
    def versions(self) -> dict[str, str]:
        """Library -> installed version."""
        installed = {dist.metadata["Name"].replace("-", "_").lower(): dist.version for dist in metadata.distributions()}
        return {name: installed[name].partition("+")[0] for name in VERSIONED if name in installed}

    # -- the torch side -------------------------------------------------------------------------------------------

    @cached_property
    def module(self) -> torch.nn.Module:
        """The module, built once under the fixed seed, in eval mode."""
        with self._step("build"):
            return self._or_finding("build", lambda: build_module(self.case))

    @contextmanager
    def _lent_module(self) -> Iterator[torch.nn.Module]:
        """The module for a while; afterwards its weights are free, and who needs it again builds it again."""
        yield self.module
        for name in ("module", "captured"):
            self.__dict__.pop(name, None)

    @cached_property
    def _forward(self) -> inspect.Signature:
        return inspect.signature(self.module.forward)

    @cached_property
    def example(self) -> ModuleInputs:
        """The inputs of the export."""
        return self._or_finding("inputs", lambda: module_inputs(self.case, self.module, EXAMPLE_SEED))

    @cached_property
    def calls(self) -> ModuleCalls | None:
        """Which modules ran; None for a case that is an .onnx file."""
        if self.case.onnx_path is not None:
            return None
        with self._step("forward"):
            return self._or_finding("forward", lambda: modules_that_ran(self.case, self.module, self.example))

    @cached_property
    def captured(self) -> Captured:
        """The torch graph."""
        with self._step("capture"):
            result = capture(self.case, module=self.module, inputs=self.example)
        if isinstance(result, CaptureFailure):
            raise FindingError(
                self._error("capture", "a torch graph", f"{result.kind}: {result.reason}", (result.where,), result.next)
            )
        return result

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

    # -- the ONNX side --------------------------------------------------------------------------------------------

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

    def modules_at(self, stage: str) -> ModuleTable:
        """The same for the ``exported`` or the ``optimized`` graph."""
        return self.modules if stage == "exported" else module_table(self.optimized, self.optimized_hierarchy)

    def graph(self, stage: str) -> ir.Model:
        """The ``exported`` or the ``optimized`` graph."""
        return self.exported_model if stage == "exported" else self.optimized

    def op_counts(self, stage: str) -> dict[str, int]:
        """Operator -> count at a stage, Constants left out."""
        return op_counts(self.graph(stage))

    # -- the numbers ----------------------------------------------------------------------------------------------

    def inputs(self, seed: int) -> ModuleInputs | dict[str, Any]:
        """The inputs of one seed, by name; for a bare .onnx file drawn from its signature."""
        if self.case.onnx_path is None:
            return module_inputs(self.case, self._forward, seed)
        if self.case.inputs is not None:
            return dict(self.case.inputs(seed))
        return dict(inputs_from_signature(self._signature, seed))

    @property
    def _changed(self) -> bool:
        """Whether the module or its example inputs are no longer what was exported: a test can reach and edit both."""
        if self.case.onnx_path is not None or "module" not in self.__dict__:
            return False
        return export_key(self.case, self.module, self.example).digest != self.exported.key.digest

    @cached_property
    def _signature(self) -> Session:
        return open_session(self.exported.path, optimizer=False, name=self.label)

    def accuracy(self, *, atol: Any = None, rtol: Any = None, seeds: int = 20, varied: bool = True) -> SweepReport:
        """torch -> exported -> optimized over the seeds 0 to `seeds` - 1; kept per tolerance."""
        key = (repr(atol), repr(rtol), seeds, varied)
        if key not in self._sweeps:
            if findings := self.pipeline_findings("pipeline"):
                raise FindingError(findings[0])  # a pipeline that failed has no graph to measure
            graph, threads = self.optimized_path, _own_cores()
            from_file = self.case.onnx_path is not None

            def make() -> SweepReport:
                return_freed_memory()
                return assess(
                    standard_stages(
                        self.case,
                        None if from_file else self._lent_module,
                        self.exported.path,
                        graph,
                        threads=threads,
                    ),
                    self.inputs,
                    Subject(
                        case=self.case,
                        module=None if from_file else self._lent_module,
                        exported=self.exported_model,
                        optimized=self.optimized,
                        passes=self.passes,
                        target=self.target,
                        threads=threads,
                    ),
                    seeds=range(seeds),
                    varied=varied,
                    atol=atol,
                    rtol=rtol,
                    folder=None if self.cache is None else self.cache / "replay",
                )

            with self._step("accuracy"):
                settings = {"atol": key[0], "rtol": key[1], "seeds": seeds, "varied": varied, "threads": threads}
                self._sweeps[key] = make() if self._changed else self._reuse.accuracy(make, graph, **settings)
        return self._sweeps[key]

    def latency(self, bound: Bound, *, threads: int = 1) -> PairedLatency:
        """Time of the exported over time of the optimized graph, in onnxruntime at its default level.

        Measured until `bound` is clearly met or missed, or the budget is spent.
        """
        exported, optimized = self.exported.path, self.optimized_path
        drawn = self.inputs(EXAMPLE_SEED)
        for name in ("module", "captured"):  # two sessions are two copies of the weights; whoever needs it builds anew
            self.__dict__.pop(name, None)
        return_freed_memory()
        with self._step("latency"):
            self._latency = measure_paired(
                self._fresh_session(exported, "exported", drawn, threads),
                self._fresh_session(optimized, "optimized", drawn, threads),
                budget_s=self.latency_budget,
                judge=partial(evaluate_speedup, bound=bound),
            )
        return self._latency

    @property
    def baseline(self) -> BaselineGraph:
        """The optimized graph, to be locked without its weights and timed against later ones."""
        return BaselineGraph(self.optimized, self.context)

    def regression(self, bound: Bound, locked: str, *, threads: int = 1) -> tuple[PairedLatency, tuple[str, ...]]:
        """Time of today's optimized graph over that of the locked one, side by side, and what had to be mapped.

        Args:
            locked: What a snapshot of `baseline` holds.

        Raises:
            BaselineError: if the locked graph cannot be read, or does not take today's inputs.
        """
        for name in ("module", "captured"):  # as in `latency`
            self.__dict__.pop(name, None)
        with self._step("latency"), locked_graph(locked, self.optimized, self._optimized_feeds()) as other:
            measured = measure_paired(
                self._fresh_session(self.optimized_path, "today's graph", self.inputs(EXAMPLE_SEED), threads),
                self._fresh_session(other.path, "the locked graph", other.feeds, threads),
                budget_s=self.latency_budget,
                judge=partial(evaluate_regression, bound=bound),
            )
        return measured, other.notes

    def slower_modules(self, locked: str) -> tuple[str, ...]:
        """Which modules today's optimized graph spends more time in than the locked one."""
        feeds = self._optimized_feeds()
        with self._step("profile"), locked_graph(locked, self.optimized, feeds) as other:
            owners = node_owners(self.optimized, other.model)
            now, then = (
                module_times(*side, owners) for side in ((self.optimized_path, feeds), (other.path, other.feeds))
            )
        return tuple(map(str, slower_modules(now, then)))

    def _optimized_feeds(self) -> dict[str, Any]:
        session = open_session(self.optimized_path, optimizer=False, name="optimized")
        return feeds_for(session, self.inputs(EXAMPLE_SEED))

    def _fresh_session(
        self, model: Path, name: str, drawn: ModuleInputs | dict[str, Any], threads: int
    ) -> FreshSession:
        """A file in a session that is opened whenever one is asked for.

        Both sides from files: sessions of one graph that were opened in different ways differ by up to 7 %, and one of
        a model in memory holds twice the weights.
        """

        def opened() -> Callable[[], object]:
            session = open_session(model, optimizer=True, name=name, threads=threads)
            return session.bind(feeds_for(session, drawn))

        return FreshSession(opened, own_thread=threads == 1)

    # -- parity ---------------------------------------------------------------------------------------------------

    def cache_parity(
        self, protocol: CacheProtocol, *, chunks: Sequence[int], atol: Any = None, rtol: Any = None, seeds: int = 1
    ) -> CacheParity:
        """Step by step with the key/value cache against one full pass, for the seeds 0 to `seeds` - 1."""
        module = self.module
        with self._step("cache parity"):
            report = cache_parity(
                self.case,
                module,
                lambda seed: module_inputs(self.case, module, seed),
                protocol=protocol,
                chunks=chunks,
                atol=atol,
                rtol=rtol,
                seeds=range(seeds),
            )
        self._parity["cache"] = report.text
        return report

    def state_roundtrip(
        self,
        *,
        seeds: int = 3,
        older: Sequence[Path] = (),
        save: Callable[[torch.nn.Module, Path], Any] | None = None,
        load: Callable[[torch.nn.Module, Path], Any] | None = None,
    ) -> StateRoundtrip:
        """The module's state saved, loaded, damaged and compared."""
        module = self.module
        with self._step("state round trip"):
            report = state_roundtrip(
                self.case,
                module,
                lambda seed: module_inputs(self.case, module, seed),
                seeds=seeds,
                older=older,
                save=save or save_state,
                load=load or load_state,
            )
        self._parity["state"] = report.text
        return report

    def golden(self, golden: Golden, *, stage: str = "torch", atol: Any = None, rtol: Any = None) -> GoldenReport:
        """The ``torch`` module, the ``exported`` or the ``optimized`` graph against a golden reference."""
        module = self.module
        model = None if stage == "torch" else self.exported.path if stage == "exported" else self.optimized
        with self._step("golden"):
            session = None if model is None else open_session(model, optimizer=False, name=stage)
            report = check_golden(
                golden,
                self.case,
                module,
                lambda seed: module_inputs(self.case, module, seed),
                candidate=None if session is None else lambda inputs: session.run(feeds_for(session, inputs)),
                stage=stage,
                versions=self.versions,
                atol=atol,
                rtol=rtol,
            )
        self._parity["golden"] = report.text
        return report

    # -- explaining -----------------------------------------------------------------------------------------------

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

    def summary(self) -> dict[str, Any]:
        """Everything measured so far, as plain data; what was not measured is not there."""
        made = self.__dict__  # a cached property stands here once it was computed
        figures = {"name": self.label, "exporter": self.exporter, "target": self.target, "versions": self.versions}
        figures |= {"parity": self._parity} if self._parity else {}
        return figures | measured_figures(
            export=made.get("export"),
            attribution=self.attribution if "_attributed" in made else None,
            hierarchy=made.get("hierarchy"),
            pipeline_hierarchy=self.pipeline_hierarchy if "_attributed" in made else None,
            sweep=list(self._sweeps.values())[-1] if self._sweeps else None,
            latency=self._latency,
            seconds=self.seconds,
            reused=made["_reuse"].taken if "_reuse" in made else (),
        )

    def _error(
        self, subject: str, expected: str, found: str, where: tuple[str, ...] = (), next_step: str = ""
    ) -> Finding:
        return Finding(
            gate="modelcheck",
            model=self.label,
            subject=subject,
            expected=expected,
            found=found,
            context=self.context,
            where=tuple(filter(None, where)),
            next=next_step,
            verdict=Verdict.ERROR,
        )

    def _or_finding(self, subject: str, make: Callable[[], _T]) -> _T:
        if subject not in self._failed:
            try:
                return make()
            except ModelCheckError as error:
                finding = self._error(subject, "a working model case", str(error))
                self._failed[subject] = FindingError(finding)
        raise self._failed[subject]

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        self._progress(f"modelcheck: {self.label} [{self.exporter}]: {name} ...")
        started = time.perf_counter()
        try:
            with _own_trace():
                yield
        finally:
            return_freed_memory(collect=False)
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
            self._progress("")
