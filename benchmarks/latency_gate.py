"""How often the latency gate is wrong: false alarms on identical graphs, and planted slowdowns it catches.

    python benchmarks/latency_gate.py                # both models, one core kept busy, 200 verdicts of each kind
    python benchmarks/latency_gate.py --load 0 --slowdown 0.02 --budget 60

- Rounds (two new sessions, timed against each other) are recorded for `--seconds` from each pair of graphs; then
  verdicts are made of rounds drawn from them with replacement, with the budget and the stopping rule of the gate: 200
  verdicts of 30 s would take hours. `live` are verdicts of the gate itself, each from rounds of its own.
- identical: the graph against itself; half of the rounds drawn change sides. A false alarm is the verdict fail of a
  gate that allows no regression at all (the hardest bound: the truth lies on its edge), and of one that allows half of
  the planted slowdown.
- planted: the graph with MatMuls added on the same input, as many as take the share of its time, measured first.
  `really` is what the recorded rounds say they take. Caught is the verdict fail of a gate that allows half of it.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.bounds import parse_bound
from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.performance import FreshSession, PairedLatency, evaluate_regression, measure_paired
from pytest_modelcheck.performance.rounds import Rounds, decide, one_round
from pytest_modelcheck.performance.timing import no_garbage_collection
from pytest_modelcheck.runtime import inputs_from_signature, open_session

ROWS, WIDTH = 4, 256
"""A planted MatMul is (4, 256) x (256, 256): about 6 microseconds."""


def bert4() -> ModelCase:
    """BERT-base's width with 4 layers, batch 1, 16 tokens."""

    def build() -> torch.nn.Module:
        from transformers import BertConfig, BertModel

        return BertModel(BertConfig(num_hidden_layers=4))

    def inputs(seed: int) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.randint(0, 30000, (1, 16))}

    return ModelCase("bert-4-layers", build, inputs, output_names=["last_hidden_state"])


def mobilenet() -> ModelCase:
    """MobileNetV3-Small at 224 x 224, batch 1."""
    from examples.zoo.convolutional import MOBILENET_V3_SMALL

    return MOBILENET_V3_SMALL.case("dynamo")


CASES: dict[str, Callable[[], ModelCase]] = {"bert4": bert4, "mobilenet": mobilenet}


def slowed(model: ir.Model, count: int) -> ir.Model:
    """The model with a chain of `count` MatMuls that depends on its input, as one more output of one element."""
    model = model.clone()
    graph = model.graph
    generator = np.random.default_rng(0)

    def constant(label: str, array: np.ndarray[Any, Any]) -> ir.Value:
        value = ir.Value(name=f"planted_{label}", const_value=ir.tensor(array, name=f"planted_{label}"))
        graph.register_initializer(value)
        return value

    def node(op: str, inputs: list[ir.Value], label: str, **attributes: Any) -> ir.Value:
        made = ir.node(op, inputs, attributes=attributes)
        made.outputs[0].name = f"planted_{label}"
        graph.append(made)
        return made.outputs[0]

    # The chain begins with something that depends on the input, or it would be folded.
    value = node("Cast", [graph.inputs[0]], "cast", to=int(ir.DataType.FLOAT))
    value = node("ReduceMax", [value], "max", keepdims=0)
    value = node("Add", [value, constant("start", generator.standard_normal((ROWS, WIDTH)).astype(np.float32))], "add")
    weight = constant("weight", (generator.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32))
    for index in range(count):
        value = node("MatMul", [value, weight], f"matmul_{index}")
    value = node("ReduceMax", [value], "result", keepdims=0)
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
    graph.outputs.append(value)
    return model


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Other processes that each load one core."""
    processes = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _burn() -> None:
    a = np.random.default_rng(0).standard_normal((400, 400))
    while True:
        a = a @ a
        a /= np.abs(a).max()


@dataclass(frozen=True, slots=True)
class Recorded:
    """Rounds of one pair of graphs: logarithms of ratios, and seconds of each."""

    ratios: list[float]
    seconds: list[float]

    @property
    def really(self) -> tuple[float, float]:
        """How much longer a takes, in percent, and the standard error."""
        spread = statistics.stdev(self.ratios) / math.sqrt(len(self.ratios))
        return 100 * math.expm1(statistics.fmean(self.ratios)), 100 * spread


def record(a: FreshSession, b: FreshSession, seconds: float) -> Recorded:
    """Rounds for so long; the first one, which finds nothing in any cache, is left out."""
    done, lasted = Rounds(), []
    until = time.perf_counter() + seconds
    with no_garbage_collection():
        while time.perf_counter() < until or len(lasted) < 3:
            began = time.perf_counter()
            one_round(a, b, done, None, math.inf)
            lasted.append(time.perf_counter() - began)
    return Recorded(done.ratios[1:], lasted[1:])


def replayed(recorded: Recorded, bound: str, budget: float, random: Random, equal: bool) -> PairedLatency:
    """One verdict of the gate from rounds drawn with replacement.

    Args:
        equal: Both graphs are one: a round tells as much with its sides exchanged, and the true ratio is 1.
    """
    done, now = Rounds(huge_pages=True), 0.0
    done.a.steady.append(1.0)
    done.b.steady.append(1.0)

    def step() -> None:
        nonlocal now
        index = random.randrange(len(recorded.ratios))
        sign = random.choice((-1, 1)) if equal else 1
        done.ratios.append(sign * recorded.ratios[index])
        done.null.append(0.0)
        done.blocks += 1
        now += recorded.seconds[index]

    judge = partial(evaluate_regression, bound=parse_bound(bound))
    return decide(step, done, budget, judge, lambda latency: False, lambda: now, 0.0)


def row(graphs: str, really: str, bound: str, how: str, verdicts: list[PairedLatency]) -> str:
    """One line of the table."""
    counts = Counter(latency.verdict for latency in verdicts)
    seconds = [latency.seconds for latency in verdicts]
    cells = [f"{100 * counts[verdict] / len(verdicts):.1f} %" for verdict in Verdict]
    took = f"{statistics.median(seconds):.1f} / {max(seconds):.1f}"
    return f"| {graphs} | {really} | {bound} | {how} | {len(verdicts)} | {' | '.join(cells)} | {took} |"


def fresh(model: ir.Model, feeds: dict[str, Any]) -> FreshSession:
    return FreshSession(lambda: open_session(model, optimizer=True).bind(feeds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", choices=CASES, nargs="*", default=list(CASES))
    parser.add_argument("--verdicts", type=int, default=200, help="replayed verdicts of each row")
    parser.add_argument("--live", type=int, default=3, help="verdicts of the gate itself, of each row")
    parser.add_argument("--load", type=int, default=1, help="processes that each load one core")
    parser.add_argument("--slowdown", type=float, default=0.05)
    parser.add_argument("--budget", type=float, default=30.0, help="seconds per verdict")
    parser.add_argument("--seconds", type=float, default=60.0, help="of recording, for each pair of graphs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {arguments.load} of them kept busy, ",
        end="",
    )
    print(f"load average {os.getloadavg()[0]:.1f}; 1 thread per session, budget {arguments.budget:g} s per verdict")
    print("\n| graphs | really | allows | verdicts | number | pass | fail | inconclusive | error | s, median / max |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in arguments.models:
        exported = export(CASES[name]())
        if not isinstance(exported, Exported):
            raise SystemExit(f"the export failed: {exported}")
        with busy_cores(arguments.load):
            table(name, exported.model, arguments)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


def table(name: str, model: ir.Model, arguments: argparse.Namespace) -> None:
    """The rows of one model."""
    plain_session = open_session(model, optimizer=True)
    feeds = dict(inputs_from_signature(plain_session, seed=0))
    del plain_session
    plain = fresh(model, feeds)
    costs = [record(fresh(slowed(model, count), feeds), plain, arguments.seconds / 8).really[0] for count in (20, 120)]
    each = (costs[1] - costs[0]) / 100
    count = max(1, round((100 * arguments.slowdown - (costs[0] - 20 * each)) / each))
    planted = fresh(slowed(model, count), feeds)
    half = f"<={50 * arguments.slowdown:g}%"
    random = Random(0)
    for graphs, a, bounds in (
        (f"{name}, identical", plain, ("<=0%", half)),
        (f"{name}, {count} MatMuls planted", planted, (half,)),
    ):
        recorded = record(a, plain, arguments.seconds)
        mean, error = recorded.really
        really = f"{mean:+.2f} +- {error:.2f} %"
        how = f"replayed from {len(recorded.ratios)} rounds"
        for bound in bounds:
            made = [replayed(recorded, bound, arguments.budget, random, a is plain) for _ in range(arguments.verdicts)]
            print(row(graphs, really, bound, how, made), flush=True)
        if arguments.live:
            judge = partial(evaluate_regression, bound=parse_bound(half))
            live = [measure_paired(a, plain, budget_s=arguments.budget, judge=judge) for _ in range(arguments.live)]
            print(row(graphs, really, half, "live", live), flush=True)


if __name__ == "__main__":
    main()
