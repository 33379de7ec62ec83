"""One step of the comparison in a process of its own, its result as JSON on the last line.

python -m benchmarks.peers.worker export LABEL FOLDER
python -m benchmarks.peers.worker optimize NAME IN.onnx OUT.onnx
python -m benchmarks.peers.worker check LABEL EXPORTED.onnx NAME=SEEDS=OPTIMIZED.onnx ...
python -m benchmarks.peers.worker check "" SHIPPED.onnx NAME=SEEDS=OPTIMIZED.onnx ...
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import logging
import os
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

OURS = "pytest-modelcheck"
BAR = 1e-5
"""Largest right difference, as a share of the reference's largest value or of 1, whichever is more."""


def _resident(field: str) -> int:
    """Bytes of memory: ``VmRSS`` now, ``VmHWM`` at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def export_case(label: str, folder: str) -> dict[str, Any]:
    """Export one case, or take it from the cache in `folder`."""
    from benchmarks.peers.cases import peer_cases
    from pytest_modelcheck.export import Exported, export
    from pytest_modelcheck.store import Store

    case = next(case.case for case in peer_cases() if case.label == label)
    name = label.removesuffix(f"-{case.exporter}")  # the eager variant beside the model's own
    made = export(dataclasses.replace(case, name=name), cache=Store(Path(folder)))
    if not isinstance(made, Exported):
        return {"error": made.render()}
    if made.path.is_relative_to(folder):
        return {"path": str(made.path)}
    # Not cached (an option that has no text to compare): the file lives as long as this process.
    kept = Path(folder) / f"{label}.kept"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(made.path.parent, kept)
    return {"path": str(kept / made.path.name)}


def optimize(name: str, source: str, destination: str) -> dict[str, Any]:
    """Load, optimize, save. Seconds and memory begin after the imports, and end when the file is written."""
    import onnx_ir as ir

    run = _ours if name == OURS else _peer(name)
    before = _resident("VmRSS")
    started, started_cpu = time.perf_counter(), time.process_time()
    details = run(source, destination)
    seconds, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    peak = _resident("VmHWM") - before
    from pytest_modelcheck.graph.counts import count_nodes

    model = ir.load(destination)
    nodes = count_nodes(model)
    return {
        "nodes": nodes,
        "constants": count_nodes(model, constants=True) - nodes,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak": peak,
        **details,
    }


def _ours(source: str, destination: str) -> dict[str, Any]:
    # What `optimize(path)` does, with the records of the passes kept.
    records = run_pipeline_of(source, destination)
    failed = [f"{record.name}: {record.error}" for record in records if record.error]
    if failed:
        raise RuntimeError("; ".join(failed))
    return {"passes": {record.name: record.delta for record in records}}


def run_pipeline_of(source: str, destination: str) -> Any:
    """The records of our default pipeline from file to file."""
    from pytest_modelcheck.graph.files import load_model, save_model
    from pytest_modelcheck.pipeline import run_pipeline

    optimized, records = run_pipeline(load_model(source))
    save_model(optimized, destination)
    return records


def _peer(name: str) -> Any:
    import onnx

    from pytest_modelcheck.foreign import FOREIGN_PASSES

    peer = next(pass_ for pass_ in FOREIGN_PASSES if pass_.name == name)
    peer.require()
    importlib.import_module("onnxscript.optimizer" if name == "onnxscript" else peer.package)

    def run(source: str, destination: str) -> dict[str, Any]:
        onnx.save(peer.run(onnx.load(source), []), destination)
        return {}

    return run


def check(label: str, exported: str, candidates: list[str]) -> dict[str, Any]:
    """For each candidate ``NAME=SEEDS=PATH`` how far it is from the exported model, onnxruntime's own optimizer off.

    A file without a label is fed with what its signature says, and its rounding counts as right: twice what
    onnxruntime's own optimizer changes.
    """
    from benchmarks.peers.cases import peer_cases
    from benchmarks.peers.feeding import drawn, feeds
    from pytest_modelcheck.runtimes import How, open_session

    wanted = [(name, int(seeds), path) for name, seeds, path in (text.split("=", 2) for text in candidates)]
    most = max(seeds for _, seeds, _ in wanted)
    reference = open_session(exported, name="exported")
    if label:
        case = next(case.case for case in peer_cases() if case.label == label)
        given = list(feeds(case, reference, most))
    else:
        given = drawn(reference, most)
    expected = [reference.run(feed) for feed in given]
    del reference
    bar = BAR if label else max(BAR, 2 * (differences(exported, given, expected, How(optimizer=True))["scaled"] or 0))
    return {name: differences(path, given[:seeds], expected, bar=bar) for name, seeds, path in wanted}


def differences(
    path: str, given: list[dict[str, Any]], expected: list[dict[str, Any]], how: Any = None, bar: float = BAR
) -> dict[str, Any]:
    """Whether a file computes what is expected, and the largest scaled difference; ``why`` where there is none."""
    from pytest_modelcheck.runtimes import open_session

    try:
        session = open_session(path, *([] if how is None else [how]))
        worst = 0.0
        for feed, want in zip(given, expected, strict=False):
            got = session.run(feed)
            if list(got) != list(want):
                raise ValueError(f"outputs {list(got)}, not {list(want)}")
            worst = max([worst, *(scaled_difference(name, want[name], got[name]) for name in want)])
    except Exception as error:  # whatever is wrong with a peer's file is its result
        return {"right": False, "scaled": None, "seeds": len(given), "why": _short(error)}
    return {"right": worst <= bar, "scaled": worst, "seeds": len(given)}


def scaled_difference(name: str, want: Array, got: Array) -> float:
    """Largest difference, as a share of the largest finite reference value or of 1, whichever is more.

    Raises:
        ValueError: for another shape or type, NaN on one side only, or an infinity where the reference has none.
    """
    if (want.shape, want.dtype) != (got.shape, got.dtype):
        raise ValueError(f"output {name!r} is {got.dtype}{list(got.shape)}, not {want.dtype}{list(want.shape)}")
    if not np.array_equal(np.isnan(want), np.isnan(got)):
        raise ValueError(f"output {name!r} has NaN on one side only")
    if not np.array_equal(np.where(np.isinf(want), want, 0), np.where(np.isinf(got), got, 0)):
        raise ValueError(f"output {name!r} has infinities on one side only")
    finite = np.isfinite(want)
    if not finite.any():
        return 0.0
    reference, found = want[finite].astype(np.float64), got[finite].astype(np.float64)
    return float(np.abs(reference - found).max() / max(1.0, np.abs(reference).max()))


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def main(arguments: list[str]) -> None:
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    mode, *rest = arguments
    try:
        if mode == "export":
            result = export_case(*rest)
        else:
            result = optimize(*rest) if mode == "optimize" else check(rest[0], rest[1], rest[2:])
    except Exception as error:  # an optimizer that fails has a row that says so
        result = {"error": _short(error)}
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1:])
