"""Whether `interface` and `numbers` are ever red where nothing changed: 0 changes are expected.

    python -m benchmarks.repeated_recordings                          # 200 repetitions of each model
    python -m benchmarks.repeated_recordings --repeat 20
    python -m benchmarks.repeated_recordings --python OTHER/bin/python  # another torch or transformers against this one

Fresh processes run under other threads, instruction sets, hash seeds, locales and directories; in each one every model
of `chaotic_models` is recorded again and again. A recording must find nothing in the first one's numbers, nor the first
one in its own: so both what is computed and what is found unstable are compared. Another interpreter records the models
of `tests/regressions`, too, and everything by both exporters.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from benchmarks.chaotic_models import chaotic_cases
from pytest_modelcheck import ModelCase
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.export import ExportFailure
from pytest_modelcheck.interface import Interface, interface_text, judge_interface
from pytest_modelcheck.model_case import EXPORTERS
from pytest_modelcheck.numbers import Numbers, text
from pytest_modelcheck.numbers.judging import judge

ROOT = Path(__file__).parent.parent

ENVIRONMENTS: Mapping[str, Mapping[str, str]] = {
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "2 threads": {"OMP_NUM_THREADS": "2"},
    "4 threads": {"OMP_NUM_THREADS": "4"},
    "no vector instructions in ATen": {"ATEN_CPU_CAPABILITY": "default"},
    "AVX2 in ATen": {"ATEN_CPU_CAPABILITY": "avx2"},
    "SSE 4.1 in oneDNN": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "neither, and MKL alike": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
    },
    "hash seed 1": {"PYTHONHASHSEED": "1"},
    "hash seed 2, locale tr_TR": {"PYTHONHASHSEED": "2", "LC_ALL": "tr_TR.UTF-8"},
    "locale C, another directory": {"LC_ALL": "C", "PYTHONUTF8": "0", "REPEATED_DIRECTORY": "a folder/with spaces"},
}
"""What a fresh process runs under."""

OPSET = 18  # named: exporters' defaults differ between versions of torch
_SHOWN = 10

Record = dict[str, dict[str, str]]
"""Model and exporter -> kind -> text."""


def cases(everything: bool) -> Iterator[ModelCase]:
    """The chaotic models by torchscript; with `everything` all models, by both exporters."""
    from tests.regressions.running import MODELS, model_case

    for exporter in EXPORTERS if everything else ("torchscript",):
        yield from chaotic_cases(exporter, OPSET)
        for path in sorted(MODELS.glob("*.py")) if everything else ():
            yield model_case(path.stem, exporter, opset=OPSET)


def key(case: ModelCase) -> str:
    return f"{case.name}, {case.exporter}"


def measured(case: ModelCase) -> tuple[Interface, Numbers]:
    check = ModelCheck(case)
    return check.interface, check.numbers


def numbers_again(case: ModelCase) -> Numbers:
    """Without the export, which no repetition in one process changes."""
    return ModelCheck(case).numbers


def record(everything: bool) -> Record:
    """Every model once."""
    found = {}
    for case in cases(everything):
        interface, numbers = measured(case)
        found[key(case)] = {"interface": interface_text(interface), "numbers": text.render(numbers)}
    return found


def compare(recorded: Record, repeat: int, everything: bool) -> dict[str, list[str]]:
    """Record every model `repeat` times; what is red, by model. Of a text that differs and is not red: ``"~"``."""
    found: dict[str, list[str]] = {}
    threads = torch.get_num_threads()
    for case in cases(everything):
        before = recorded[key(case)]
        messages = found.setdefault(key(case), [])
        for index in range(repeat):
            torch.set_num_threads(threads if index % 2 == 0 else 3 - min(threads, 2))
            changes = []
            numbers = numbers_again(case)
            if index == 0:
                exported = ModelCheck(case).graphs.export
                if isinstance(exported, ExportFailure):  # another version's own limit: nothing to compare
                    print(f"{key(case)}: {exported.reason}", file=sys.stderr)
                else:
                    changes.append(judge_interface(before["interface"], measured(case)[0]))
            again = text.render(numbers)
            earlier = text.parse(before["numbers"])
            changes += [judge(before["numbers"], numbers), judge(again, earlier)]
            messages += [f"{change.found}: {'; '.join(change.where[:3])}" for change in changes if change.found]
            messages += ["~"] if again != before["numbers"] else []
    torch.set_num_threads(threads)
    return found


def fresh(
    python: str, environment: Mapping[str, str], recorded: Path, repeat: int, everything: bool
) -> dict[str, list[str]]:
    """`compare` in a process of its own."""
    arguments = ["--against", str(recorded), "--repeat", str(repeat), *(["--everything"] if everything else [])]
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / environment.get("REPEATED_DIRECTORY", "")
        directory.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(
            [python, "-m", "benchmarks.repeated_recordings", *arguments],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            check=True,
        )
    return dict(json.loads(made.stdout.splitlines()[-1]))


def main() -> int:
    """Returns 1 where something was red."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=200, metavar="N", help="recordings of each model")
    parser.add_argument("--python", help="an interpreter with other versions, instead of other environments")
    parser.add_argument("--against", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--everything", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.against is not None:
        recorded = json.loads(given.against.read_text(encoding="utf-8"))
        print(json.dumps(compare(recorded, given.repeat, given.everything)))
        return 0
    other = given.python is not None
    environments = {given.python: {}} if other else ENVIRONMENTS
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recorded.json"
        recorded = record(other)
        path.write_text(json.dumps(recorded), encoding="utf-8")
        for model, texts in recorded.items():
            print(f"{model}: {texts['numbers'].count('not locked')} rows of outputs are not locked")
        for name, environment in environments.items():
            each = 1 if other else -(-given.repeat // len(environments))
            found = fresh(given.python or sys.executable, environment, path, each, other)
            lines = [f"{model}: {line}" for model, messages in found.items() for line in messages if line != "~"]
            rounded = sum(messages.count("~") for messages in found.values())
            print(f"{name}: {len(lines)} red, {rounded} texts of different digits", flush=True)
            for line in lines[:_SHOWN]:
                print(f"  {line}", flush=True)
            total += len(lines)
    print(f"{total} changes in {1 if other else given.repeat} recordings of each of {len(recorded)} models")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
