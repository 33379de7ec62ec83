"""What `modelcheck.numbers` and `modelcheck.weights` cost beside building the module.

    python -m benchmarks.numbers_cost            # BERT-base, and small models that are chaotic
    python -m benchmarks.numbers_cost --repeat 200

Processor seconds, all threads together; memory is the peak of the resident set above that of the built module, over
the bytes of its weights; text is what the snapshot holds. The repetitions check a model whose numbers random weights
make chaotic, and one that selects among near ties, against their own record, and count the changes.
"""

from __future__ import annotations

import argparse
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
from pytest_modelcheck.numbers.judging import judge


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


class Chaotic(torch.nn.Module):
    """60 layers of gain 3: a change of 1e-6 grows until it fills the range of tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(32, 32) for _ in range(60))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.tanh(3 * layer(x))
        return x


class Selecting(torch.nn.Module):
    """The ten best of 4,000 scores, and what stands there."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.scores, self.boxes = torch.nn.Conv2d(16, 1, 1), torch.nn.Conv2d(16, 4, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.relu(self.stem(image))
        best = self.scores(features).flatten(1).sigmoid().topk(10)
        boxes = self.boxes(features).flatten(2).transpose(1, 2)
        return best.values, boxes.gather(1, best.indices[..., None].expand(-1, -1, 4))


def picture(seed: int) -> dict[str, torch.Tensor]:
    return {"image": torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))}


def vector(seed: int) -> dict[str, torch.Tensor]:
    return {"x": torch.randn(4, 32, generator=torch.Generator().manual_seed(seed))}


REPEATED = (
    ModelCase("chaotic", Chaotic, vector),
    ModelCase("selecting", Selecting, picture),
)


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


def repetitions(case: ModelCase, count: int) -> str:
    """How many of `count` checks differ from the record, over one and two threads."""
    recorded = text.render(numbers_of(case, build_module(case)))
    changed, threads = 0, torch.get_num_threads()
    for index in range(count):
        torch.set_num_threads(1 + index % 2)
        changed += bool(judge(recorded, numbers_of(case, build_module(case))).found)
    torch.set_num_threads(threads)
    unlocked = sum("not locked" in line for line in recorded.splitlines())
    return f"{case.name}: {changed} changes in {count} repetitions; {unlocked} rows of outputs are not locked"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=200, metavar="N", help="repetitions; 0 leaves them out")
    given = parser.parse_args()
    torch.set_num_threads(1)  # further threads spin while they wait, and their seconds would count
    print("| model | parameters | check, s | record, s | weights, s | memory, copies | text | lines |")
    print("|---|---|---|---|---|---|---|---|")
    print(cost(BERT_BASE.case("dynamo")))
    for case in REPEATED if given.repeat else ():
        print(repetitions(case, given.repeat))


if __name__ == "__main__":
    main()
