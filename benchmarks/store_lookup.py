"""What it costs to find a kept export: BERT-base from its configuration, with weights that are drawn.

    python -m benchmarks.store_lookup

Exports in one process, looks up in a second one. Imports, building and drawing inputs are left out; the model's weights
are 438 MB. Prints processor and wall seconds of the look-up, and how many bytes a whole check with accuracy hashes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.calling import build_module
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.gates.accuracy import measure_accuracy
from pytest_modelcheck.store import Store, describe


def build() -> torch.nn.Module:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig())


def inputs(seed: int) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.randint(0, 30_000, (1, 32), generator=torch.Generator().manual_seed(seed))}


CASE = ModelCase("bert-base", build, inputs, exporter="dynamo")


def look_up(folder: Path) -> dict[str, object]:
    """Export or look up, and time it."""
    module = build_module(CASE)
    wall, processor = time.perf_counter(), time.process_time()
    made = export(CASE, module=module, cache=Store(folder))
    seconds = {"processor_s": time.process_time() - processor, "wall_s": time.perf_counter() - wall}
    assert isinstance(made, Exported), made
    weights = sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
    return {"taken": made.cached, "why": made.why, "weight_bytes": weights, **seconds}


def whole_check(folder: Path) -> dict[str, object]:
    """Bytes hashed in a check of export and accuracy, over the bytes of the weights."""
    hashed = [0]
    for name in ("digest", "large_digest"):
        setattr(describe, name, _counted(getattr(describe, name), hashed))
    check = ModelCheck(CASE, cache=folder)
    measure_accuracy(check, seeds=1, varied=False)
    return {"reused": check.summary()["reused"], "hashed_bytes": hashed[0]}


def _counted(digest: Callable[[Any], str], hashed: list[int]) -> Callable[[Any], str]:
    def counted(data: Any) -> str:
        hashed[0] += memoryview(data).nbytes
        return digest(data)

    return counted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="of a store to be kept; default: a temporary one")
    parser.add_argument("--step", choices=("look_up", "whole_check"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        print(json.dumps({"look_up": look_up, "whole_check": whole_check}[arguments.step](arguments.folder)))
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        for step in ("look_up", "look_up", "whole_check", "whole_check"):
            command = [sys.executable, "-m", "benchmarks.store_lookup", "--folder", str(folder), "--step", step]
            print(step, subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
