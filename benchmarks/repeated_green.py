"""False alarms: one small model under every gate, run again and again on a busy machine. Each run has to be green.

Each run is a process of its own, forked from one that has exported once: imports and the exporter's table of operators
are most of a fresh interpreter's time. Every second run exports again (`--modelcheck-no-cache`). The processes that
keep the machine busy are of this command.

    python -m benchmarks.repeated_green [--runs 200] [--load 2]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import onnxruntime  # noqa: F401, what each run needs
import pytest
import torch

MODEL = """
import pytest
import torch
from pytest_modelcheck import ModelCase


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.norm = torch.nn.Embedding(60, 32), torch.nn.LayerNorm(32)
        self.q, self.k, self.v, self.out = (torch.nn.Linear(32, 32) for _ in range(4))

    def forward(self, input_ids, attention_mask):
        x = self.words(input_ids)
        q, k, v = (layer(x).unflatten(-1, (4, 8)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        mask = attention_mask[:, None, None, :].bool()
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return {"hidden": self.norm(x + self.out(y.transpose(1, 2).flatten(2)))}


def inputs(seed):
    ids = torch.randint(0, 60, (2, 12), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[1, 8 + seed % 4 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


AXES = {0: "batch", 1: "sequence"}
CASES = [
    pytest.param(
        ModelCase("net", Net, inputs, exporter=exporter, dynamic_axes={"input_ids": AXES, "attention_mask": AXES}),
        id=exporter,
    )
    for exporter in ("dynamo", "torchscript")
]


@pytest.mark.parametrize("model_case", CASES)
@pytest.mark.expect_interface(outputs=("hidden",))
@pytest.mark.expect_reduction(total=">0")
@pytest.mark.expect_ops(Softmax=1)
@pytest.mark.expect_accuracy(seeds=20)
@pytest.mark.expect_runtime("reference", seeds=2)
@pytest.mark.expect_hierarchy(coverage=">=95%", modules=">=90%")
@pytest.mark.expect_fusion(qkv="1/1")
@pytest.mark.expect_latency(speedup=">=0.9", threads=1)
@pytest.mark.expect_memory(axis="sequence", sizes=(8, 16, 32), exponent="<=2.1")
@pytest.mark.expect_host_transfers(0)
@pytest.mark.expect_compile(graph_breaks=0, recompiles=0)
@pytest.mark.expect_state_roundtrip()
@pytest.mark.expect_golden()
def test_net(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot
"""


def run(folder: Path, *options: str) -> tuple[int, str]:
    """Exit code and output of a run in a process of its own, which takes over what this one has imported."""
    printed = folder / "printed.txt"
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), printed.read_text(encoding="utf-8")
    code = 1
    try:
        os.chdir(folder)
        file = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        code = pytest.main(["-q", "-p", "no:cacheprovider", "--modelcheck", *options, "test_net.py"])
        sys.stdout.flush()
    finally:
        os._exit(code)


def _busy(stop_with: int) -> None:
    while os.getppid() == stop_with:
        sum(range(200_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--load", type=int, default=os.cpu_count(), help="processes that keep the machine busy")
    arguments = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    busy = [spawn.Process(target=_busy, args=(os.getpid(),), daemon=True) for _ in range(arguments.load)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_net.py").write_text(MODEL, encoding="utf-8")
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        torch.onnx.export(torch.nn.Identity(), (torch.zeros(1),), dynamo=True, verbose=False)
        code, printed = run(folder, "--snapshot-update")
        if code:
            raise SystemExit(printed)
        for process in busy:
            process.start()
        started, alarms = time.time(), 0
        for number in range(arguments.runs):
            code, printed = run(folder, *(["--modelcheck-no-cache"] if number % 2 else []))
            if code:
                alarms += 1
                print(f"run {number}:\n{printed}", flush=True)
            print(f"{number + 1} runs, {alarms} false alarms, {time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
