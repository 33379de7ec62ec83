"""Kills whole pytest runs at random moments (one, two on one cache, with workers), and looks at what is left.

    python -m benchmarks.kill_runs --kills 200

Runs are forked from a process that has loaded torch, onnx and onnxruntime, and nothing of the plugin: the moments are
not spent on imports. Bytecode of the plugin is written, or each run would compile it.
After every kill each entry of the store must be whole. After each round a run of the unchanged project must take all
that was kept before the kills, and leave nothing of the killed ones behind. Prints one line for each round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import onnx_ir  # noqa: F401 - loaded before the runs are forked
import onnxruntime  # noqa: F401 - loaded before the runs are forked
import pytest
import torch.onnx._internal.torchscript_exporter.utils  # noqa: F401 - loaded before the runs are forked

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
def test_numbers(modelcheck):
    assert modelcheck.attribution

@pytest.mark.expect_ops(Gemm=2)
def test_fusion(modelcheck):
    assert modelcheck.attribution and modelcheck.fusion
"""
ALONE, TWO = ((),), ((), ())
WAYS: tuple[tuple[tuple[str, ...], ...], ...] = (
    *(ALONE, TWO, ALONE, ALONE, TWO, ALONE, (("-n", "2"),), ALONE, TWO, ALONE, TWO, ALONE, ALONE, TWO),
    *(ALONE, ALONE, TWO, (("-n", "4"),), ALONE, TWO),
)
"""What is killed, in turn: the arguments of each run that is on the cache at that moment.

Workers load all by themselves, which takes as long as twenty runs: two of twenty have some."""


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
    """Kill that many runs of a small project in `folder`, started in the `WAYS` in turn.

    Example:
        >>> print(kill_runs(tmp_path, 4))
        4 kills: 0 half-written, 0 lost, 0 litter
    """
    sys.dont_write_bytecode = False
    draw, outcome = random.Random(seed), Outcome()
    (folder / "temporary").mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    (folder / "test_net.py").write_text(TEST)
    _write_model(folder, 1.0)
    _whole_run(folder)
    kept, lasted = _whole_run(folder), dict[tuple[str, ...], float]()
    while outcome.kills < kills:
        for _ in range(min(round_of, kills - outcome.kills)):
            way = WAYS[outcome.kills % len(WAYS)]
            if way[0] not in lasted:
                _write_model(folder, 1.0)
                started = time.perf_counter()
                _whole_run(folder, *way[0])
                lasted[way[0]] = time.perf_counter() - started
            _write_model(folder, draw.random())  # a model that was never exported: every part is made
            runs = [_forked(_pytest, folder, *arguments) for arguments in way]
            time.sleep(draw.uniform(0.1, 1.6) * lasted[way[0]])
            for run in runs:
                os.killpg(run, signal.SIGKILL)
                os.waitpid(run, 0)
            outcome.kills += 1
            outcome.half_written += _half_written(folder)
        _write_model(folder, 1.0)
        now = _whole_run(folder)
        outcome.lost += [f"{part} was made again" for part in kept if part not in now]
        outcome.litter += _litter(folder)
        print(outcome, flush=True)
    return outcome


def _write_model(folder: Path, factor: float) -> None:
    (folder / "net.py").write_text(MODEL.replace("FACTOR", repr(factor)))


def _forked(call: Callable[..., int], folder: Path, *arguments: object) -> int:
    """The process that makes the call on a folder, in a group of its own; what it prints is in ``<folder>.log``."""
    if process := os.fork():
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(process, process)  # here and there: whichever comes first
        return process
    status = 1
    try:
        os.setpgid(0, 0)
        with folder.with_suffix(".log").open("w") as log:
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
        status = call(folder, *arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


def _pytest(folder: Path, *arguments: str) -> int:
    os.chdir(folder)
    os.environ["TMPDIR"], tempfile.tempdir = str(folder / "temporary"), None
    sys.path.insert(0, str(folder))
    given = ["-q", "-p", "no:cacheprovider", "--modelcheck", f"--rootdir={folder}", *arguments]
    status = int(pytest.main([*given, f"--modelcheck-report={folder / 'report.json'}", str(folder)]))
    from pytest_modelcheck.store import folder as of_store

    of_store._at_exit.close()  # os._exit() ends without it; all of atexit would remove this benchmark's own folder
    return status


def _whole_run(folder: Path, *arguments: str) -> list[str]:
    """Run to the end; what was taken from an earlier run."""
    (folder / "report.json").unlink(missing_ok=True)
    status = os.waitpid(_forked(_pytest, folder, *arguments), 0)[1]
    if status != 0:
        said = folder.with_suffix(".log").read_text()
        raise RuntimeError(f"a run that nobody killed ended with {os.waitstatus_to_exitcode(status)}:\n{said}")
    models = [test["model"] for test in json.loads((folder / "report.json").read_text())["tests"]]
    return sorted({part for model in models for part in ["export"] * model["export"]["cached"] + model["reused"]})


def _half_written(folder: Path) -> list[str]:
    found = folder / "half_written.json"
    os.waitpid(_forked(_read_entries, folder, found), 0)
    wrong: list[str] = json.loads(found.read_text())
    return wrong


def _read_entries(folder: Path, found: Path) -> int:
    from pytest_modelcheck.store.results import read_entry

    wrong, store = [], folder / ".modelcheck"
    for path in store.rglob("*-*.json") if store.is_dir() else ():
        try:
            read_entry(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            wrong.append(f"{path}: {error}")
    found.write_text(json.dumps(wrong))
    return 0


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
    print("\n".join([*outcome.half_written, *outcome.lost, *outcome.litter]), flush=True)
    return bool(outcome.half_written or outcome.lost or outcome.litter)


if __name__ == "__main__":
    sys.exit(main())
