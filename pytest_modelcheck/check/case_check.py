"""What every check of a case rests on: words for findings, steps with their time, errors that become findings."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from pytest_modelcheck.accuracy import SweepReport
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.latency import PairedLatency, Throughput
from pytest_modelcheck.model_case import Exporter, ModelCase
from pytest_modelcheck.pipeline import AnyPass
from pytest_modelcheck.result import Finding, FindingError, Verdict
from pytest_modelcheck.runtimes.freed_memory import return_freed_memory
from pytest_modelcheck.targets import Target

VERSIONED = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "transformers")
"""Libraries whose version stands in reports and snapshots, where they are installed."""

_T = TypeVar("_T")


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


class CaseCheck:
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
        self._regression: PairedLatency | None = None
        self._throughput: tuple[Throughput, ...] = ()
        self._sweeps: dict[tuple[str, str, int, bool], SweepReport] = {}
        self._parity: dict[str, str] = {}  # what was compared -> its figures in one clause

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
