"""What a check is made under, and the errors that are about the case itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.pipeline import AnyPass
from pytest_modelcheck.result import Finding, FindingError, Verdict
from pytest_modelcheck.store.installed import owners
from pytest_modelcheck.targets import Target

if TYPE_CHECKING:
    import torch

VERSIONED = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "transformers")
"""Libraries whose version is shown in reports and snapshots, where they are installed."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a check is made under.

    Attributes:
        model: The model's name in findings.
        exporter: ``dynamo``, ``torchscript``, or ``onnx`` for a file.
        target: What the optimized graph may contain.
        passes: The pipeline; None for the default.
        cache: Directory of kept exports and results; None for a temporary one.
        latency_budget: Seconds a latency measurement may take.
        export_timeout: Seconds an exporter may take; None for any.
    """

    model: str
    exporter: str
    target: Target = "portable"
    passes: Sequence[AnyPass] | None = None
    cache: Path | None = None
    latency_budget: float = 30.0
    export_timeout: float | None = None

    @property
    def context(self) -> str:
        """Exporter and target, as findings name them: ``"dynamo, target portable"``."""
        return f"{self.exporter}, target {self.target}"

    def stage_context(self, stage: str) -> str:
        """The stage with what made it: ``"optimized, dynamo, target portable"``."""
        return f"{stage}, {self.context}" if stage == "optimized" else f"{stage}, {self.exporter}"

    @property
    def versions(self) -> dict[str, str]:
        """Library -> installed version, of those in `VERSIONED` that are installed."""
        return installed_versions()

    def error(
        self, subject: str, expected: str, found: str, where: tuple[str, ...] = (), next_step: str = ""
    ) -> FindingError:
        """An error about the case itself, whichever gate asked."""
        finding = Finding(
            gate="modelcheck",
            model=self.model,
            subject=subject,
            expected=expected,
            found=found,
            context=self.context,
            where=tuple(filter(None, where)),
            next=next_step,
            verdict=Verdict.ERROR,
        )
        return FindingError(finding)

    def working(self, subject: str, make: Callable[[], _T]) -> _T:
        """What `make` gives.

        Raises:
            FindingError: where `make` raises an error of ours: the case does not work.
        """
        try:
            return make()
        except ModelCheckError as error:
            raise self.error(subject, "a working model case", str(error)) from error


@dataclass(slots=True)
class Locked:
    """What is locked for the running test; nothing is outside a pytest run.

    Attributes:
        text: Kind of a snapshot -> what is recorded under it; None where nothing is.
        file: File name, such as ``"golden.npz"`` -> where a gate keeps it, beside the snapshots of the test; None
            outside a pytest run.
        updating: Whether the run records what is locked (``--snapshot-update``).
    """

    text: Callable[[str], str | None] = lambda kind: None
    file: Callable[[str], Path] | None = None
    updating: bool = False


def installed_versions(libraries: Iterable[str] = VERSIONED) -> dict[str, str]:
    """Library -> installed version, of those that are installed."""
    installed = _installed()
    return {name: installed[name] for name in libraries if name in installed}


@cache
def _installed() -> dict[str, str]:
    installed: dict[str, str] = {}
    for dist in metadata.distributions():  # a name that is listed twice is imported from the first
        installed.setdefault(_imported_as(dist.metadata["Name"]), dist.version.partition("+")[0])
    return installed


def libraries_of(module: torch.nn.Module) -> tuple[str, ...]:
    """The installed libraries that define the classes of a module and of its children, by name."""
    defined_in = {type(each).__module__ for each in module.modules()}
    files = (getattr(sys.modules.get(name), "__file__", None) for name in defined_in)
    return tuple(sorted({_imported_as(name) for file in files if file for name in owners(file)}))


def _imported_as(distribution: str) -> str:
    return distribution.replace("-", "_").lower()


def own_cores() -> int:
    """Cores that this process may use, shared with the other workers of an xdist run."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))


def share_cores() -> None:
    """Let torch compute on this worker's share of the cores, where each worker of an xdist run would use all of them.

    Threads that wait for each other on one core take its time: two workers with two threads each on two cores took 2.4
    times the processor time, and twice as long. Who sets ``OMP_NUM_THREADS``, or fewer threads, has decided.
    """
    torch = sys.modules.get("torch")
    if torch and "PYTEST_XDIST_WORKER_COUNT" in os.environ and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), own_cores()))
