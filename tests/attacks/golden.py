"""References, models and tolerances that `expect_golden` must refuse: (name, attack, options of the marker, words).

An attack changes what the file is written from, or gives another module to check; harmless neighbours have no words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.out(torch.tanh(self.first(x)))

    def out(self, hidden):
        return self.last(hidden)


def inputs(seed):
    return (torch.randn(4, 3, generator=torch.Generator().manual_seed(seed)),)


def giving(change):
    """The net, its output changed."""

    class Giving(Net):
        def out(self, hidden):
            return change(self.last(hidden))

    return Giving


def with_weights(change):
    class Changed(Net):
        def __init__(self):
            super().__init__()
            with torch.no_grad():
                change(self)

    return Changed


class Untouched(Net):
    """No weight reaches the output."""

    def forward(self, x):
        return torch.tanh(x)


class LastRowOnly(Net):
    def forward(self, x):
        return super().forward(x[-1:])


class Rounded(Net):
    def out(self, hidden):
        return self.last(hidden).round()


class InTheExport(Net):
    def out(self, hidden):
        return self.last(hidden) * (1.001 if torch.jit.is_tracing() else 1)


class MoreWeights(Net):
    def __init__(self):
        super().__init__()
        self.more = nn.Linear(1, 1)


class Drawing(Net):
    def out(self, hidden):
        return self.last(hidden) + 0.01 * torch.rand(2)


@dataclass(frozen=True)
class Attack:
    """What a file is written from, and what is checked against it.

    Attributes:
        name: What is wrong, or harmless.
        says: Words of the finding; empty where the gate must be green.
        outputs: Changes the reference's outputs: seed -> array.
        build: The module that is checked; the reference is `Net`'s.
        inputs: Those that are drawn by the check.
        written: The module whose weights the file names.
        options: The marker's.
        content: Changes the file's bytes.
    """

    name: str
    says: str
    outputs: Callable[[dict[int, np.ndarray]], Any] = lambda arrays: arrays
    build: type[nn.Module] = Net
    inputs: Callable[[int], Any] = inputs
    written: type[nn.Module] = Net
    options: dict[str, Any] = field(default_factory=dict)
    content: Callable[[bytes], bytes] = lambda content: content


def each(change):
    return lambda arrays: {seed: change(array) for seed, array in arrays.items()}


def of_last(change):
    return lambda arrays: {**arrays, 2: change(arrays[2])}


def put(index, value):
    def change(array):
        array = array.copy()
        array[index] = value
        return array

    return change


def with_last(module):
    module.last.weight[0, 0] += 1e-3


OVER = "output 'output_0' expected float32[4, 2] with |difference| <= max("
NOTHING = "found nothing can fail"
WEIGHTS, INPUTS = "weights expected those of", "inputs expected those of"
ROWS = [
    Attack("a thousandth too large", OVER, each(lambda a: a * np.float32(1.001))),
    Attack("the sign", OVER, each(np.negative)),
    Attack("one element", OVER, each(put((0, 0), 9))),
    Attack("one element of the last seed", OVER, of_last(put((3, 1), 9))),
    Attack("a thousandth in the last seed", OVER, of_last(lambda a: a + np.float32(1e-3))),
    Attack("seeds exchanged", OVER, lambda arrays: {0: arrays[1], 1: arrays[0], 2: arrays[2]}),
    Attack("rows exchanged", OVER, each(lambda a: a[::-1].copy())),
    Attack("an infinity", "inf", each(put((0, 0), np.inf))),
    Attack("in half precision", OVER, each(lambda a: a.astype(np.float16).astype(np.float32))),
    Attack("a wider type", "float64", each(lambda a: a.astype(np.float64))),
    Attack("a row less", "expected", each(lambda a: a[1:])),
    Attack("a broadcast row", "expected", each(lambda a: a[:1])),
    Attack("cut in the middle", "is damaged", content=lambda content: content[: len(content) // 2]),
    Attack("empty", "is damaged", content=lambda content: b""),
    Attack(
        "one bit", "golden", content=lambda c: c[: len(c) // 2] + bytes([c[len(c) // 2] ^ 1]) + c[len(c) // 2 + 1 :]
    ),
    Attack("a module that gives more", OVER, build=giving(lambda y: y * 1.001)),
    Attack("a module that cuts", OVER, build=giving(lambda y: y.clamp(-0.3, 0.3))),
    Attack("a module that gives no numbers", "NaN", build=giving(lambda y: y * float("nan"))),
    Attack("a module that draws", OVER, build=Drawing),
    Attack("a weight changed", WEIGHTS, build=with_weights(with_last)),
    Attack(
        "a weight in bfloat16", WEIGHTS, build=with_weights(lambda m: m.first.weight.copy_(m.first.weight.bfloat16()))
    ),
    Attack("a weight negated that nobody reads", WEIGHTS, build=with_weights(lambda m: m.last.bias.neg_())),
    Attack("weights that the reference does not know", WEIGHTS, build=MoreWeights),
    Attack("a reference of other weights", WEIGHTS, written=with_weights(with_last)),
    Attack("inputs of another seed", INPUTS, inputs=lambda seed: inputs(seed + 1)),
    Attack("inputs off by a millionth", INPUTS, inputs=lambda seed: (inputs(seed)[0] * 1.000001,)),
    Attack("inputs of another type", "expected", inputs=lambda seed: (inputs(seed)[0].double(),)),
    Attack("a bound that zeros pass", NOTHING, options={"atol": 10}),
    Attack("a relative bound that zeros pass", NOTHING, options={"rtol": 5}),
    Attack("a bound that a tenth of a weight passes", "[error] expect_golden: ", options={"atol": 0.2}),
    Attack("a bound for one output that sees nothing", NOTHING, options={"atol": {"output_0": 10}}),
    Attack("an export that gives more", OVER, build=InTheExport, options={"stage": "exported"}),
    Attack("an optimized export that gives more", OVER, build=InTheExport, options={"stage": "optimized"}),
    Attack("as it was", ""),
    Attack("a millionth", "", each(lambda a: a * np.float32(1 + 1e-6))),
    Attack("exported", "", options={"stage": "exported"}),
    Attack("optimized", "", options={"stage": "optimized"}),
]
