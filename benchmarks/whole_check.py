"""What a check costs: the plugin where it is not used, and the whole check of BERT-base, cold and cached.

    python benchmarks/whole_check.py

Every figure is measured in processes of its own, on this machine, now:

- start: `pytest --version` with the plugin and without it, in turns, median of the differences.
- whole check: `pytest --modelcheck examples/test_bert_base.py` for the torchscript exporter, wall time of the process.
- memory: peak resident memory of that process, above one that only imports the libraries, in copies of the weights.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEST = "examples/test_bert_base.py::test_bert_base[bert-base-torchscript]"
IMPORTS = "import torch, onnx, onnx_ir, onnxruntime, onnxscript, transformers.models.bert.modeling_bert"
BERT_BASE_BYTES = 109_482_240 * 4
_BYTECODE_KEPT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""As on a user's machine: the second run of a test finds the bytecode of the first."""


@dataclass(frozen=True, slots=True)
class Run:
    """One process: wall seconds, peak resident bytes, exit status."""

    seconds: float
    peak: int
    status: int


def run(arguments: list[str]) -> Run:
    """Run a process to its end, its output thrown away."""
    started = time.perf_counter()
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=_BYTECODE_KEPT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Run(time.perf_counter() - started, usage.ru_maxrss * 1024, process.returncode)


def plugin_start(turns: int = 15) -> float:
    """Milliseconds that the plugin adds to a pytest that does nothing."""
    pytest = [sys.executable, "-m", "pytest", "--version"]
    differences = [run(pytest).seconds - run([*pytest, "-p", "no:modelcheck"]).seconds for _ in range(turns)]
    return 1000 * statistics.median(differences)


def whole_check(cache: Path) -> tuple[Run, dict[str, float]]:
    """The check of BERT-base, and the seconds of its steps."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = [f"--modelcheck-cache={cache}", f"--modelcheck-report={report}", "-p", "no:cacheprovider", "-q"]
        done = run([sys.executable, "-m", "pytest", "--modelcheck", TEST, *options])
        steps = json.loads(report.read_text())["tests"][0]["model"]["seconds"] if report.is_file() else {}
        return done, steps


def main() -> None:
    print(f"plugin, where it is not used: {plugin_start():+.1f} ms on `pytest --version`")
    baseline = run([sys.executable, "-c", IMPORTS]).peak
    with tempfile.TemporaryDirectory() as folder:
        for label in ("cold", "cached"):
            done, steps = whole_check(Path(folder))
            copies = (done.peak - baseline) / BERT_BASE_BYTES
            listed = ", ".join(f"{name} {seconds:.1f}" for name, seconds in steps.items())
            print(f"BERT-base, torchscript, {label}: {done.seconds:.1f} s, exit {done.status}, steps: {listed}")
            print(f"  peak {done.peak / 1e9:.2f} GB; above the imports {copies:.2f} copies of the weights")


if __name__ == "__main__":
    main()
