"""Kills whole pytest runs at random moments, alone and two on one cache, and looks at what is left.

    python -m benchmarks.kill_runs --kills 200

After every kill each entry of the store must be whole. After each round a run of the unchanged project must take all
that was kept before the kills, and leave nothing of the killed ones behind. Prints one line for each round.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from pytest_modelcheck.store.results import read_entry

MODEL = """
import torch
from pytest_modelcheck import ModelCase

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(64, 64), torch.nn.Linear(64, 4)

    def forward(self, x):
        return self.last(self.first(x).relu()) * FACTOR

CASE = ModelCase("net", Net, lambda seed: (torch.randn(2, 64),), exporter="torchscript")
"""
TEST = """
import pytest
from net import CASE

@pytest.fixture(scope="session")
def model_case():
    return CASE

@pytest.mark.expect_ops(Gemm=2)
@pytest.mark.expect_accuracy(seeds=3)
def test_net(modelcheck):
    assert modelcheck.attribution and modelcheck.fusion
"""


@dataclass(slots=True)
class Outcome:
    """What was seen: one line for each thing that was wrong."""

    kills: int = 0
    half_written: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = {"half-written": self.half_written, "lost": self.lost, "litter": self.litter}
        return f"{self.kills} kills: " + ", ".join(f"{len(found)} {name}" for name, found in parts.items())


def kill_runs(folder: Path, kills: int, *, round_of: int = 10, seed: int = 0) -> Outcome:
    """Kill that many runs of a small project in `folder`; every other time two runs on one cache.

    Example:
        >>> print(kill_runs(tmp_path, 4))
        4 kills: 0 half-written, 0 lost, 0 litter
    """
    draw, outcome = random.Random(seed), Outcome()
    (folder / "temporary").mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    (folder / "test_net.py").write_text(TEST)
    _write_model(folder, 1.0)
    _whole_run(folder)
    started = time.perf_counter()
    kept = _whole_run(folder)
    lasted = time.perf_counter() - started
    while outcome.kills < kills:
        for _ in range(min(round_of, kills - outcome.kills)):
            _write_model(folder, draw.random())  # a model that was never exported: every part is made
            runs = [_start(folder) for _ in range(1 + outcome.kills % 2)]
            time.sleep(draw.uniform(0.2, 1.5) * lasted)
            for run in runs:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
            outcome.kills += 1
            outcome.half_written += _half_written(folder / ".modelcheck")
        _write_model(folder, 1.0)
        now = _whole_run(folder)
        outcome.lost += [f"{part} was made again" for part in kept if part not in now]
        outcome.litter += _litter(folder)
        print(outcome, flush=True)
    return outcome


def _write_model(folder: Path, factor: float) -> None:
    (folder / "net.py").write_text(MODEL.replace("FACTOR", repr(factor)))


def _start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--modelcheck"]
    environment = {**os.environ, "TMPDIR": str(folder / "temporary")}
    return subprocess.Popen(
        [*command, f"--rootdir={folder}", f"--modelcheck-report={folder / 'report.json'}", str(folder)],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _whole_run(folder: Path) -> list[str]:
    """Run to the end; what was taken from an earlier run."""
    (folder / "report.json").unlink(missing_ok=True)
    if (status := _start(folder).wait()) != 0:
        raise RuntimeError(f"a run that nobody killed ended with {status}")
    (test,) = json.loads((folder / "report.json").read_text())["tests"]
    model = test["model"]
    return ["export"] * model["export"]["cached"] + model["reused"]


def _half_written(store: Path) -> list[str]:
    wrong = []
    for path in store.rglob("*-*.json") if store.is_dir() else ():
        try:
            read_entry(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            wrong.append(f"{path}: {error}")
    return wrong


def _litter(folder: Path) -> list[str]:
    """What a finished run must not leave: parts without an entry, scratch folders, locks, temporary files."""
    store = folder / ".modelcheck"
    left = [path for path in (store / ".busy").iterdir() if path.name != "gate.lock"]
    for place in (store, *store.glob("export-*/")):
        stems = {path.stem for path in place.glob("*.json")} | {"model", ".gitignore", ".busy"}
        left += [path for path in place.iterdir() if path.name.partition(".onnx")[0].removesuffix(".json") not in stems]
    kept = ("gate.lock", ".gitignore")
    for found in (folder / "temporary").glob("modelcheck-*"):
        left += [path for path in found.rglob("*") if path.is_file() and path.name not in kept]
    return [str(path.relative_to(folder)) for path in left]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = kill_runs(Path(folder) / "project", arguments.kills, seed=arguments.seed)
    print("\n".join([*outcome.half_written, *outcome.lost, *outcome.litter]))
    return bool(outcome.half_written or outcome.lost or outcome.litter)


if __name__ == "__main__":
    sys.exit(main())
