"""How often the latency gate is wrong: false alarms on identical graphs, and planted slowdowns it catches.

    python benchmarks/latency_gate.py                       # a 4-layer BERT, 200 runs each, one core kept busy
    python benchmarks/latency_gate.py --runs 20 --load 0    # shorter, on a quiet machine

- identical: the same graph in two sessions. A false alarm is the verdict fail of a gate that allows no regression at
  all (the hardest bound: the truth lies on its edge), and of one that allows half of the planted slowdown.
- planted: the graph with additional MatMuls on the same input, sized by their share of the graph's multiplications;
  the cost that they really have stands beside it (`really`). Caught is the verdict fail of a gate that allows half of
  the share.
- `seconds` is what one verdict took, median and maximum; the budget of each is `--budget`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.bounds import parse_bound
from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.performance import PairedLatency, evaluate_regression, measure_paired
from pytest_modelcheck.runtime import Session, open_session

SEQUENCE = 16


def bert4() -> ModelCase:
    """BERT-base's width with 4 layers, batch 1."""

    def build() -> torch.nn.Module:
        from transformers import BertConfig, BertModel

        return BertModel(BertConfig(num_hidden_layers=4))

    def inputs(seed: int) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.randint(0, 30000, (1, SEQUENCE))}

    return ModelCase("bert-4-layers", build, inputs, exporter="torchscript", output_names=["last_hidden_state"])


def mobilenet() -> ModelCase:
    """MobileNetV2 at 224 x 224, batch 1."""

    def build() -> torch.nn.Module:
        from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

        return MobileNetV2ForImageClassification(MobileNetV2Config())

    def inputs(seed: int) -> dict[str, torch.Tensor]:
        return {"pixel_values": torch.randn(1, 3, 224, 224)}

    return ModelCase("mobilenet-v2", build, inputs, exporter="torchscript", output_names=["logits"])


CASES: dict[str, Callable[[], ModelCase]] = {"bert4": bert4, "mobilenet": mobilenet}
MULTIPLICATIONS = {"bert4": 4 * 12 * SEQUENCE * 768 * 768, "mobilenet": 300_000_000}


def slowed(model: ir.Model, name: str, share: float) -> ir.Model:
    """The model with a chain of MatMuls worth `share` of its multiplications, as one more output of one element."""
    model = model.clone()
    graph = model.graph
    rows, width = 64, 256
    count = max(1, round(share * MULTIPLICATIONS[name] / (rows * width * width)))
    generator = np.random.default_rng(0)
    first = graph.inputs[0]

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
    value = node("Cast", [first], "cast", to=int(ir.DataType.FLOAT))
    value = node("ReduceMax", [value], "max", keepdims=0)
    value = node("Add", [value, constant("start", generator.standard_normal((rows, width)).astype(np.float32))], "add")
    weight = constant("weight", (generator.standard_normal((width, width)) / width**0.5).astype(np.float32))
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


def verdicts(
    a: Session, b: Session, feeds: dict[str, Any], bound: str, runs: int, budget: float
) -> list[PairedLatency]:
    """`runs` verdicts on the regression of a over b."""
    judge = partial(evaluate_regression, bound=parse_bound(bound))
    return [measure_paired((a, feeds), (b, feeds), budget_s=budget, judge=judge) for _ in range(runs)]


def row(label: str, bound: str, measured: list[PairedLatency]) -> str:
    counts = Counter(latency.verdict for latency in measured)
    seconds = [latency.seconds for latency in measured]
    ratio = statistics.median(latency.ratio for latency in measured)
    return (
        f"| {label} | {bound} | {len(measured)} | {counts[Verdict.FAIL]} | {counts[Verdict.PASS]} | "
        f"{counts[Verdict.INCONCLUSIVE]} | {counts[Verdict.ERROR]} | {100 * (ratio - 1):+.2f} % | "
        f"{statistics.median(seconds):.1f} / {max(seconds):.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=CASES, default="bert4")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--load", type=int, default=1, help="processes that each load one core")
    parser.add_argument("--slowdowns", type=float, nargs="*", default=[0.05, 0.02])
    parser.add_argument("--budget", type=float, default=30.0, help="seconds per verdict")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    exported = export(CASES[arguments.model]())
    if not isinstance(exported, Exported):
        raise SystemExit(f"the export failed: {exported}")
    model = exported.model
    plain, same = (open_session(model, optimizer=True, name=name) for name in ("now", "baseline"))
    generator = np.random.default_rng(0)
    feeds = {
        port.name: generator.integers(0, 30000, tuple(port.shape))
        if port.element == "int64"
        else generator.standard_normal(tuple(port.shape)).astype(np.float32)
        for port in plain.inputs
    }
    print(f"{exported.case.name}, {platform.processor() or platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"{arguments.load} of them loaded, load average {os.getloadavg()[0]:.1f}, 1 thread per session")
    print("\n| graphs | gate allows | runs | fail | pass | inconclusive | error | really | seconds median / max |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    started = time.perf_counter()
    with busy_cores(arguments.load):
        bounds = ["<=0%", *(f"<={50 * share:g}%" for share in arguments.slowdowns)]
        for bound in bounds:
            measured = verdicts(plain, same, feeds, bound, arguments.runs, arguments.budget)
            print(row("identical", bound, measured), flush=True)
        for share in arguments.slowdowns:
            bound = f"<={50 * share:g}%"
            slow = open_session(slowed(model, arguments.model, share), optimizer=True, name="slowed")
            measured = verdicts(slow, plain, feeds, bound, arguments.runs, arguments.budget)
            print(row(f"planted {100 * share:g} %", bound, measured), flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
