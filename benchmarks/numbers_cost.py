"""What `modelcheck.numbers` and `modelcheck.weights` cost beside building BERT-base.

    python -m benchmarks.numbers_cost

Processor seconds, all threads together; memory is the peak of the resident set above that of the built module, over
the bytes of its weights; text is what the snapshot holds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from examples.zoo.bert_base import BERT_BASE
from pytest_modelcheck import ModelCase
from pytest_modelcheck.calling import build_module, weight_bytes
from pytest_modelcheck.numbers import numbers_of, text, weights, weights_of


def resident() -> int:
    """Bytes of the resident set now."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * 4096


@contextmanager
def peak_above() -> Iterator[list[int]]:
    """Sample the resident set every 2 ms; the list holds the peak above the start afterwards."""
    start, peak, done = resident(), [0], threading.Event()

    def sample() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident() - start)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def cost(case: ModelCase) -> str:
    """One row: checking, recording, weights, memory, text."""
    module = build_module(case)
    size = weight_bytes(module)
    seconds = {}

    def timed(name: str, make: Callable[[], object]) -> None:
        began = time.process_time()
        make()
        seconds[name] = time.process_time() - began

    with peak_above() as peak:
        began = time.process_time()
        numbers = numbers_of(case, module)
        seconds["check"] = time.process_time() - began
        began = time.process_time()
        body = text.render(numbers)
        seconds["record"] = seconds["check"] + time.process_time() - began
    timed("weights", lambda: weights.render(weights_of(case, module, numbers)))
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return (
        f"| {case.name} | {parameters / 1e6:.1f} M | {seconds['check']:.2f} | {seconds['record']:.2f} "
        f"| {seconds['weights']:.2f} | {peak[0] / size:.2f} | {len(body) / 1000:.1f} kB | {len(body.splitlines())} |"
    )


def main() -> None:
    torch.set_num_threads(1)  # further threads spin while they wait, and their seconds would count
    print("| model | parameters | check, s | record, s | weights, s | memory, copies | text | lines |")
    print("|---|---|---|---|---|---|---|---|")
    print(cost(BERT_BASE.case("dynamo")))


if __name__ == "__main__":
    main()
