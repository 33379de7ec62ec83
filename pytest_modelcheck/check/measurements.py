"""The numbers of a case: accuracy and latency."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from pytest_modelcheck.accuracy import Subject, SweepReport, Tolerances, assess, standard_stages
from pytest_modelcheck.accuracy.stages import feeds_for
from pytest_modelcheck.bounds import Bound
from pytest_modelcheck.calling import ModuleInputs, module_inputs, resized
from pytest_modelcheck.check.graph_side import GraphSide
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.export.key import export_key
from pytest_modelcheck.latency import (
    BaselineGraph,
    FreshSession,
    PairedLatency,
    StoredTimes,
    Throughput,
    compare_stored,
    copies_across,
    evaluate_regression,
    evaluate_speedup,
    locked_graph,
    measure_paired,
    module_times,
    node_owners,
    per_second,
    session_times,
    slower_modules,
    time_key,
)
from pytest_modelcheck.model_case import EXAMPLE_SEED
from pytest_modelcheck.result import FindingError
from pytest_modelcheck.runtimes import How, Signature, inputs_from_signature, open_session, signature_of
from pytest_modelcheck.runtimes.freed_memory import return_freed_memory
from pytest_modelcheck.shapes.evaluate import RANDOM


def own_cores() -> int:
    """Cores that this process may use, shared with the other workers of an xdist run."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


class Measurements(GraphSide):
    """What running the graphs says."""

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
    def _signature(self) -> Signature:
        return signature_of(self.exported.model, self.label)

    def accuracy(self, *, atol: Any = None, rtol: Any = None, seeds: int = 20, varied: bool = True) -> SweepReport:
        """torch -> exported -> optimized over the seeds 0 to `seeds` - 1; kept per tolerance."""
        key = (repr(atol), repr(rtol), seeds, varied)
        if key not in self._sweeps:
            if findings := self.pipeline_findings("pipeline"):
                raise FindingError(findings[0])  # a pipeline that failed has no graph to measure
            graph, how = self.optimized_path, How(threads=own_cores())
            from_file = self.case.onnx_path is not None

            def make() -> SweepReport:
                return_freed_memory()
                return assess(
                    standard_stages(
                        self.case,
                        None if from_file else self._lent_module,
                        self.exported.path,
                        graph,
                        how=how,
                    ),
                    self.inputs,
                    Subject(
                        case=self.case,
                        module=None if from_file else self._lent_module,
                        exported=self.exported_model,
                        optimized=self.optimized,
                        passes=self.passes,
                        target=self.target,
                        how=how,
                    ),
                    seeds=range(seeds),
                    varied=varied,
                    tolerances=Tolerances(atol, rtol),
                    folder=None if self.cache is None else self.cache / "replay",
                )

            with self._step("accuracy"):
                settings = {"atol": key[0], "rtol": key[1], "seeds": seeds, "varied": varied, "threads": how.threads}
                self._sweeps[key] = make() if self._changed else self._reuse.accuracy(make, graph, **settings)
        return self._sweeps[key]

    def latency(self, bound: Bound, *, threads: int = 1, provider: str = "CPU") -> PairedLatency:
        """Time of the exported over time of the optimized graph, in onnxruntime at its default level.

        Measured until `bound` is clearly met or missed, or the budget is spent. What met it in an earlier run, with the
        very same files, is not measured again.
        """
        exported, optimized = self.exported.path, self.optimized_path

        def make() -> PairedLatency:
            drawn = self._drawn_to_be_timed()
            return measure_paired(
                self._fresh_session(exported, "exported", drawn, threads, provider),
                self._fresh_session(optimized, "optimized", drawn, threads, provider),
                budget_s=self.latency_budget,
                judge=partial(evaluate_speedup, bound=bound),
            )

        settings = {"bound": repr(bound), "threads": threads, "provider": provider}
        with self._step("latency"):
            self._latency = self._reuse.latency(make, optimized, **settings)
        return self._latency

    def _drawn_to_be_timed(self) -> ModuleInputs | dict[str, Any]:
        drawn = self.inputs(EXAMPLE_SEED)
        for name in ("module", "captured"):  # two sessions are two copies of the weights; whoever needs it builds anew
            self.__dict__.pop(name, None)
        return_freed_memory(collect=False)  # measuring collects garbage before it opens anything
        return drawn

    def throughput(self, sizes: Sequence[int], *, threads: int = 1, provider: str = "CPU") -> tuple[Throughput, ...]:
        """Examples per second of the exported and the optimized graph at these batch sizes, in the wall clock's time.

        Raises:
            ModelCaseError: for an .onnx file, or a case whose dynamic axes have no ``batch``.
        """
        if self.case.onnx_path is not None:
            raise ModelCaseError(f"{self.label}: is an .onnx file; batch sizes are those of a module's example inputs")
        drawn = {size: resized(self.example, "batch", size, self.case.dynamic_axes) for size in sizes}
        sides = (self.exported.path, self.optimized_path)
        self._drawn_to_be_timed()
        measured: dict[int, list[float]] = {size: [] for size in sizes}
        with self._step("throughput"):
            for path in sides:
                session = open_session(path, How(optimizer=True, threads=threads, provider=provider))
                for size, inputs in drawn.items():
                    measured[size].append(per_second(session.bind(feeds_for(session, inputs)), size))
        self._throughput = tuple(Throughput(size, *both) for size, both in measured.items())
        return self._throughput

    def stored_latency(
        self, *, threads: int = 1, provider: str = "CPU"
    ) -> tuple[PairedLatency | None, tuple[str, ...]]:
        """Time of the optimized graph over the one that is stored for this machine and these versions.

        Returns:
            The measurement, and where the stored time lies. None where nothing comparable was stored: today's time is
            stored then, and the lines say what there was instead.

        Raises:
            ModelCaseError: without a cache, in which times are stored.
        """
        if self.cache is None:
            raise ModelCaseError("times are stored in the cache of exports, and this run has none")
        optimized, drawn = self.optimized_path, self._drawn_to_be_timed()
        fresh = self._fresh_session(optimized, "optimized", drawn, threads, provider)
        with self._step("latency"):
            now = session_times(fresh, self.latency_budget)
        shapes = ", ".join(f"{name} {list(np.shape(value))}" for name, value in self._optimized_feeds().items())
        key = time_key(f"{self.label} ({self.context})", shapes, threads, provider, self.versions)
        stored = StoredTimes(self.cache / "times")
        then = stored.find(key)
        if then is not None:
            return compare_stored(now, then), (f"stored in {stored.file(key)}",)
        others = stored.differences(key)
        file = stored.store(key, now.ms)
        return None, (f"{median(now.ms):.2f} ms is stored from now on, in {file}", *others)

    @property
    def baseline(self) -> BaselineGraph:
        """The optimized graph, to be locked without its weights and timed against later ones."""
        return BaselineGraph(self.optimized, self.context)

    def regression(
        self, bound: Bound, locked: str, *, threads: int = 1, provider: str = "CPU"
    ) -> tuple[PairedLatency, tuple[str, ...]]:
        """Time of today's optimized graph over that of the locked one, side by side, and what had to be mapped.

        Args:
            locked: What a snapshot of `baseline` holds.

        Raises:
            BaselineError: if the locked graph cannot be read, or does not take today's inputs.
        """
        for name in ("module", "captured"):  # as in `latency`
            self.__dict__.pop(name, None)
        with self._step("latency"), locked_graph(locked, self.optimized, self._optimized_feeds()) as other:
            drawn = self.inputs(EXAMPLE_SEED)
            self._regression = measure_paired(
                self._fresh_session(self.optimized_path, "today's graph", drawn, threads, provider),
                self._fresh_session(other.path, "the locked graph", other.feeds, threads, provider),
                budget_s=self.latency_budget,
                judge=partial(evaluate_regression, bound=bound),
            )
        return self._regression, other.notes

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
        return feeds_for(signature_of(self.optimized, "optimized"), self.inputs(EXAMPLE_SEED))

    def _fresh_session(
        self, model: Path, name: str, drawn: ModuleInputs | dict[str, Any], threads: int, provider: str
    ) -> FreshSession:
        """A file in a session that is opened whenever one is asked for.

        Both sides from files: sessions of one graph that were opened in different ways differ by up to 7 %, and one of
        a model in memory holds twice the weights.
        """

        how = How(optimizer=True, threads=threads, provider=provider)

        def opened() -> Callable[[], object]:
            session = open_session(model, how, name=name)
            return session.bind(feeds_for(session, drawn))

        return FreshSession(opened, own_thread=threads == 1 and provider == "CPU")

    def random_ops(self) -> tuple[str, ...]:
        """Operators of the exported graph whose results are drawn anew in every run."""
        return tuple(sorted(RANDOM & self.op_counts("exported").keys()))

    def copies_across(self, provider: str) -> dict[str, int]:
        """Memcpy nodes of the optimized graph, as onnxruntime runs it with this provider."""
        with self._step("memcpy"):
            return copies_across(self.optimized_path, How(provider=provider))
