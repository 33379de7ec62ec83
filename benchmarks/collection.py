"""What collecting costs: 2,000 tests with 200 model cases, with the plugin and without it.

    python -m benchmarks.collection

Prints processor seconds of `pytest --collect-only` (the median of the repetitions, interleaved), their ratio, and which
of torch, onnx, onnx_ir and numpy a collection with model checks loads: none.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FILES, CASES, TESTS = 20, 10, 10
GATES = ("expect_ops(Gemm=2)", "expect_accuracy(seeds=3)", 'expect_hierarchy(coverage=">=95%")')
HEAVY = ("torch", "onnx", "onnx_ir", "numpy")

_HEAD = f"""\
import pytest
from pytest_modelcheck import ModelCase

def build():
    raise AssertionError("a collection builds nothing")

CASES = [ModelCase(f"net{{n}}", build, lambda seed: (), exporter="torchscript") for n in range({CASES})]
"""
_CONFTEST = f"""\
import sys
import pytest

if "pytest_modelcheck.plugin" not in sys.modules:
    @pytest.fixture
    def modelcheck(model_case): pass

def pytest_collection_finish(session):
    print("loaded:", [name for name in {HEAVY!r} if name in sys.modules], "tests:", len(session.items))
"""


def write_project(folder: Path) -> None:
    """Files of tests, each with cases of its own and a test for each of them under several gates."""
    names = "\n".join(f"    {gate.partition('(')[0]}" for gate in GATES)
    (folder / "pytest.ini").write_text(f"[pytest]\nmarkers =\n{names}\n")
    (folder / "conftest.py").write_text(_CONFTEST)
    for file in range(FILES):
        lines = [_HEAD]
        for test in range(TESTS):
            lines += ['@pytest.mark.parametrize("model_case", CASES)', *(f"@pytest.mark.{gate}" for gate in GATES)]
            lines.append(f"def test_{test}(modelcheck): pass\n")
        (folder / f"test_file{file}.py").write_text("\n".join(lines))


def collect(folder: Path, arguments: Sequence[str]) -> tuple[float, str]:
    """Processor seconds of one collection, and what it printed last of all that is loaded."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-s", "-p", "no:cacheprovider", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(run.stdout[-2000:] + run.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = next(line for line in run.stdout.splitlines() if line.startswith("loaded:"))
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    repetitions = parser.parse_args().repetitions
    kinds = {"without the plugin": ("-p", "no:modelcheck"), "plugin": (), "plugin, --modelcheck": ("--modelcheck",)}
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    said = {}
    with tempfile.TemporaryDirectory() as name:
        write_project(Path(name))
        for repetition in range(repetitions + 1):
            for kind, arguments in kinds.items():
                spent, said[kind] = collect(Path(name), arguments)
                if repetition:  # the first one compiles
                    seconds[kind].append(spent)
    base = statistics.median(seconds["without the plugin"])
    for kind, took in seconds.items():
        median = statistics.median(took)
        print(f"{kind:<22} {median:5.2f} processor s  x{median / base:.2f}  {said[kind]}")


if __name__ == "__main__":
    main()
