"""Captured, written out, partitioned: every model of the zoo at full size, in one table.

    python benchmarks/fusion_table.py                     # all of them, about 10 minutes and 6 GB on 2 cores
    python benchmarks/fusion_table.py bert-base gpt2      # some of them
    python benchmarks/fusion_table.py --linear            # only: the time of a partition over the number of nodes

- nodes: compute nodes with attention whole -> with attention written out.
- attention: how many attention layers the architecture has, by its configuration; it is declared in `ATTENTION` below.
- qkv: how many attention layers the data flow has, and how many of them have their projections grouped.
- false: groups of projections beyond what the architecture can have, and attention layers beyond those it has.
- mean size: compute nodes per fused subgraph without -> with the attention rules, on one and the same graph.
- whole: the mean size with attention left whole.
- numerics: what writing attention out changes in the outputs: max abs difference / max(1, max abs).
- seconds: capture + decompose + partition, as processor time of all threads: on an idle machine the wall time is no
  longer. Building the model and comparing the outputs are not in them.

The decoys have sibling projections and no attention. A model that misses a bar has a `!` behind the figure, and the
exit status is 1.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import nn

from examples.zoo.decoders import PHI2_LAYERS
from examples.zoo.registry import MODELS
from pytest_modelcheck import ModelCase
from pytest_modelcheck.calling import ModuleInputs, build_module
from pytest_modelcheck.capture import Captured, capture, compare_runs, decompose
from pytest_modelcheck.fusion import partition
from tests.fusion.attention_modules import DECOYS
from tests.structure_models import module_case

ATTENTION = {
    "bert-base": 12,
    "bert-large": 24,
    "distilbert": 6,
    "roberta-base": 12,
    "albert-base-v2": 12,
    "whisper-tiny-encoder": 4,
    "whisper-tiny-decoder": 2 * 4,
    "whisper-base-encoder": 6,
    "whisper-base-decoder": 2 * 6,
    "gpt2": 12,
    "smollm2-135m": 30,
    f"phi-2-{PHI2_LAYERS}-layers": PHI2_LAYERS,
    "t5-small": 6 + 2 * 6,
    "bart-base": 6 + 2 * 6,
    "deit-small": 12,
    "vit-b-16": 12,
    "vit-l-16": 24,
    "mobilevit-small": 2 + 4 + 3,
    "vit-b-16-torchvision": 12,
    "yolo12n": 16,
    "multi-layer-attention": 3,
    "patch-attention": 1,
    "cross-attention": 1,
}
"""Attention layers by configuration; a model that is not here has none."""

GAIN_AT_LEAST = {"bert-base": 0.3, "vit-b-16": 0.3, "vit-l-16": 0.3}
SECONDS_AT_MOST = {"bert-large": 60.0}
COLUMNS = (
    "model",
    "nodes",
    "attention",
    "qkv",
    "false",
    "mean size",
    "gain",
    "whole",
    "subgraphs",
    "numerics",
    "seconds",
    "GFLOP",
    "MiB saved",
)
LINEAR_NODES, LINEAR_SECONDS = 20_000, 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, and whether it meets the bars."""

    text: str
    good: bool


def measure(case: ModelCase, attention: int) -> Row:
    """One model; `attention` is how many attention layers its configuration has."""
    module = build_module(case)
    started = time.process_time()
    captured = capture(case, module=module)
    capture_s = time.process_time() - started
    if not isinstance(captured, Captured):
        return Row(f"| {case.name} | {captured.kind}! | {captured.reason} |", False)
    started = time.process_time()
    decomposed = decompose(captured)
    decompose_s = time.process_time() - started
    started = time.process_time()
    report = partition(decomposed)
    partition_s = time.process_time() - started
    whole, baseline = partition(captured), partition(decomposed, attention=False)
    compared = compare_runs(captured, decomposed)
    groups = sum(1 for subgraph in report.subgraphs if subgraph.pattern == "qkv")
    false = max(0, groups - attention) + max(0, report.attention_layers - attention)
    gain = len(baseline.subgraphs) / len(report.subgraphs) - 1
    seconds = capture_s + decompose_s + partition_s
    checks = {
        "qkv": report.qkv == report.attention_layers == attention,
        "false": false == 0,
        "gain": gain >= GAIN_AT_LEAST.get(case.name, 0.0),
        "numerics": compared.agrees,
        "seconds": seconds <= SECONDS_AT_MOST.get(case.name, float("inf")),
    }
    mark = {name: "" if met else "!" for name, met in checks.items()}
    cells = (
        case.name,
        f"{whole.nodes} -> {report.nodes}",
        str(attention),
        f"{report.qkv}/{report.attention_layers}{mark['qkv']}",
        f"{false}{mark['false']}",
        f"{baseline.mean_size:.2f} -> {report.mean_size:.2f}",
        f"{100 * gain:+.0f} %{mark['gain']}",
        f"{whole.mean_size:.2f}",
        f"{len(report.subgraphs)}",
        f"{compared.difference:.1e}{mark['numerics']}",
        f"{capture_s:.1f} + {decompose_s:.1f} + {partition_s:.2f}{mark['seconds']}",
        "?" if report.flops is None else f"{report.flops / 1e9:.2f}",
        "?" if report.internal_bytes is None else f"{report.internal_bytes / 2**20:.0f}",
    )
    reasons = "".join(f"\n  {owner}: {reason}" for owner, reason in report.unfused)
    return Row(f"| {' | '.join(cells)} |{reasons}", all(checks.values()))


def decoys() -> Iterator[tuple[ModelCase, int]]:
    """Small modules that only look like attention."""
    for decoy in DECOYS:
        yield module_case(decoy().eval(), (1, 5, 16), name=f"decoy {decoy.__name__}"), 0


def chain(nodes: int) -> Captured:
    """A graph of `nodes` compute nodes with example values: blocks of matmul, add, gelu, whose result is read twice."""
    graph = torch.fx.Graph()
    values = graph.placeholder("x")
    mode = torch._subclasses.fake_tensor.FakeTensorMode()
    example = mode.from_tensor(torch.zeros(4, 4))
    values.meta["val"] = example
    for index in range(nodes):
        before = values
        target = (torch.ops.aten.matmul.default, torch.ops.aten.add.Tensor, torch.ops.aten.gelu.default)[index % 3]
        values = graph.call_function(target, (before,) if index % 3 == 2 else (before, before))
        values.meta["val"] = example
    graph.output((values,))
    inputs = ModuleInputs(("x",), (torch.zeros(4, 4),))
    made = torch.fx.GraphModule(nn.Module(), graph)
    return Captured(name=f"{nodes} nodes", how="symbolic_trace", graph_module=made, program=None, inputs=inputs)


def linear() -> bool:
    """Print the time of a partition over the number of nodes."""
    print("\n| nodes | subgraphs | seconds | microseconds per node |\n|---|---|---|---|")
    met = True
    for nodes in (LINEAR_NODES // 8, LINEAR_NODES // 4, LINEAR_NODES // 2, LINEAR_NODES):
        captured = chain(nodes)
        started = time.process_time()
        report = partition(captured)
        seconds = time.process_time() - started
        met = met and (nodes < LINEAR_NODES or seconds <= LINEAR_SECONDS)
        cells = (str(report.nodes), str(len(report.subgraphs)), f"{seconds:.2f}{'' if met else '!'}")
        print(f"| {' | '.join(cells)} | {1e6 * seconds / nodes:.0f} |", flush=True)
    return met


def table(names: Sequence[str]) -> bool:
    """Print the table; whether every model meets the bars."""
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"|{'---|' * len(COLUMNS)}", flush=True)
    met = True
    for model in MODELS:
        if names and model.name not in names:
            continue
        if model.missing:
            print(f"| {model.name} | not measured: needs {', '.join(model.missing)} |", flush=True)
            met = met and not names
            continue
        row = measure(model.case("dynamo"), ATTENTION.get(model.name, 0))
        print(row.text, flush=True)
        met = met and row.good
        gc.collect()
    for case, attention in () if names else decoys():
        row = measure(case, attention)
        print(row.text, flush=True)
        met = met and row.good
    return met


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="names in the zoo; default: all, and the decoys")
    parser.add_argument("--linear", action="store_true", help="only the time of a partition over the number of nodes")
    arguments = parser.parse_args()
    if unknown := set(arguments.models) - {model.name for model in MODELS}:
        parser.error(f"not in the zoo: {', '.join(sorted(unknown))}")
    print(f"torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"{torch.get_num_threads()} threads, load average {os.getloadavg()[0]:.1f}\n")
    met = True if arguments.linear else table(arguments.models)
    met = linear() and met if not arguments.models else met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
