"""Which modules the time of a run goes to: onnxruntime's own profile, folded by the owners of the nodes.

A profiled run is slower than a timed one, so the shares say where, and never how much of a difference there is.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import onnx_ir as ir

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.graph.metadata import OWNER_KEY
from pytest_modelcheck.runtimes import AT_DEFAULT_LEVEL, How, installed_runtime

RUNS = 8
"""Of which the first two are left out: they allocate."""

DEPTH = 4
"""Parts of a module path that are kept: ``encoder.layer.*.intermediate``."""

_SHOWN = 3
_MADE_FROM = re.compile(r"/MatMul(?:Add|Scale)Fusion|_nchwc|_token_\d+")


@dataclass(frozen=True, slots=True)
class ModuleTime:
    """Milliseconds per run of one folded module in two graphs; 0.0 where it is only in the other one."""

    module: str
    a_ms: float
    b_ms: float

    def __str__(self) -> str:
        both = f"{self.b_ms:.2f} -> {self.a_ms:.2f} ms"
        if not self.b_ms or not self.a_ms:
            return f"{self.module} {'new' if self.a_ms else 'gone'} ({both})"
        return f"{self.module} {100 * (self.a_ms / self.b_ms - 1):+.0f} % ({both})"


def node_owners(*models: ir.Model) -> dict[str, str]:
    """Name of a node, and of each of its values, -> module path; of the first model that knows it."""
    owners: dict[str, str] = {}
    for model in models:
        for node in model.graph.all_nodes():
            owner = node.metadata_props.get(OWNER_KEY)
            names = (node.name, *(value.name for value in node.outputs))
            for name in filter(None, names if owner is not None else ()):
                owners.setdefault(name, str(owner))
    return owners


def module_times(
    path: Path, feeds: Mapping[str, Any], owners: Mapping[str, str], how: How = AT_DEFAULT_LEVEL
) -> dict[str, float]:
    """Folded module -> milliseconds per run.

    Raises:
        SessionError: if the model cannot be loaded or run.
        OptionError: for a runtime that has no profile.
    """
    runtime = installed_runtime(how.runtime)
    if runtime.profile is None:
        raise OptionError(f"{runtime.name} has no profile of single nodes")
    folded: dict[str, float] = defaultdict(float)
    for node in runtime.profile(path, feeds, how, RUNS):
        owner = _owner(node.name, owners)
        module = f"{runtime.name}'s own {node.op} nodes" if owner is None else fold(owner)
        per_run = len(node.ms) // RUNS or 1
        folded[module] += per_run * median(node.ms[2 * per_run :] or node.ms)
    return dict(folded)


def fold(path: str) -> str:
    """``encoder.layer.3.attention.self.query`` -> ``encoder.layer.*.attention``."""
    parts = ["*" if part.isdigit() else part for part in path.split(".")]
    return ".".join(parts[:DEPTH]) or "the root module"


def slower_modules(a: Mapping[str, float], b: Mapping[str, float]) -> tuple[ModuleTime, ...]:
    """The modules that a spends most more time in than b, at most three; none that is faster."""
    times = [ModuleTime(module, a.get(module, 0.0), b.get(module, 0.0)) for module in {*a, *b}]
    times.sort(key=lambda time: (time.b_ms - time.a_ms, time.module))
    return tuple(time for time in times[:_SHOWN] if time.a_ms > time.b_ms)


def _owner(name: str, owners: Mapping[str, str]) -> str | None:
    """By name, or by what onnxruntime named a node of its own after: ``fused /0/Gemm``, ``relu_1_nchwc`` (a value)."""
    parts = (name, *_MADE_FROM.split(name.removeprefix("fused ")))
    return next((owners[part] for part in parts if part in owners), None)
