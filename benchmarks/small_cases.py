"""Many small models in one run: seconds of each case and memory of each worker, the first time and from the store.

    python -m benchmarks.small_cases                 # 1,000 cases on two workers, about 12 minutes
    python -m benchmarks.small_cases --count 100

Each case is two projections of a width of its own with an accuracy gate and all snapshots. Nothing may grow with the
number of cases: compare runs of several.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEST = """
import pytest, torch
from pytest_modelcheck import ModelCase

class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.act, self.second = torch.nn.Linear(16, width), torch.nn.GELU(), torch.nn.Linear(width, 4)

    def forward(self, x):
        return self.second(self.act(self.first(x)))

def inputs(seed):
    return (torch.randn(8, 16, generator=torch.Generator().manual_seed(seed)),)

def case(i):
    def build():
        torch.manual_seed(i)
        return Net(8 + i)
    return ModelCase(f"net{i}", build, inputs, exporter="torchscript")

@pytest.mark.parametrize("model_case", [case(i) for i in range(COUNT)])
@pytest.mark.expect_ops(Gemm=2)
@pytest.mark.expect_accuracy(seeds=5)
def test_net(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot
"""
PEAK = """
import pathlib, re, sys

def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput"):
        peak = re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]
        pathlib.Path(f"peak-{session.config.workerinput['workerid']}").write_text(peak)
"""


def run(folder: Path, workers: int, *options: str) -> tuple[float, int]:
    """Wall seconds of a run, its start included, and the most MB that a worker held."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "pytest", "-q", "--modelcheck", "-n", str(workers), "-p", "no:cacheprovider"]
    started = time.perf_counter()
    ran = subprocess.run(
        [*command, *options],
        cwd=folder,
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode:
        raise SystemExit(ran.stdout[-2000:] + ran.stderr[-2000:])
    return time.perf_counter() - started, max(int(file.read_text()) for file in folder.glob("peak-*")) // 1024


def main() -> None:
    """Print one line for the first run, and one for the second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelcheck-cases-") as name:
        folder = Path(name)
        (folder / "test_cases.py").write_text(TEST.replace("COUNT", str(arguments.count)))
        (folder / "conftest.py").write_text(PEAK)
        for what, options in (("recorded", ["--snapshot-update"]), ("from the store", [])):
            seconds, megabytes = run(folder, arguments.workers, *options)
            print(
                f"{arguments.count:,} cases {what}: {seconds:.1f} s, {seconds / arguments.count:.3f} s each, "
                f"{megabytes} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
