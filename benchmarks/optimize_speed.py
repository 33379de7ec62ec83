"""Processor seconds and memory of ``optimize`` beside onnxsim and onnxslim, over built graphs and files that are named.

    python -m benchmarks.optimize_speed                              # built graphs: the table of docs/performance.md
    python -m benchmarks.optimize_speed --largest 10000              # those of at most so many nodes
    python -m benchmarks.optimize_speed bert-base.onnx               # these files
    python -m benchmarks.optimize_speed --attribute bert-base.onnx   # the matrix as well, leave-one-out included

Each run is a process on one thread, the best of `--runs`; its imports are counted, and shown beside. A ratio is
ours to theirs: below 1 we are faster, or smaller. Other work on the machine makes processor seconds grow, too: use an
idle one.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.peers.growing import chain

_PEERS = ("onnxsim", "onnxslim")

_MOST_FOR_ONNXSLIM = 2_000
"""Nodes of a built graph: beyond, it takes minutes."""

_IMPORTS = {
    "ours": "from pytest_modelcheck.pipeline import optimize",
    "onnxsim": "import onnx, onnxsim",
    "onnxslim": "import onnx, onnxslim",
    "attribute": "from pytest_modelcheck.attribution import attribute",
}
_RUN = {
    "ours": "optimize(source, output=destination)",
    "onnxsim": "onnx.save(onnxsim.simplify(onnx.load(source))[0], destination)",
    "onnxslim": "onnxslim.slim(source, destination)",
    "attribute": "attribute(source)",
}


class _Graph:
    """Nodes and float weights one behind the other."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._generator = np.random.default_rng(0)

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        made = [f"{op}_{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, made, **attributes))
        return made

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        array = (self._generator.standard_normal(shape) * 0.1).astype(np.float32)
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def constant(self, content: Any) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(content), f"c{len(self.weights)}"))
        return self.weights[-1].name

    def model(self, result: str, columns: int | None) -> onnx.ModelProto:
        ports = [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8]),
            helper.make_tensor_value_info(result, TensorProto.FLOAT, ["batch", columns]),
        ]
        graph = helper.make_graph(self.nodes, "graph", ports[:1], ports[1:], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _plain(nodes: int) -> onnx.ModelProto:
    """A projection, a bias, an activation, an Identity, again and again."""
    graph, flow = _Graph(), "x"
    while len(graph.nodes) < nodes:
        (flow,) = graph.add("MatMul", flow, graph.weight(8, 8))
        (flow,) = graph.add("Add", flow, graph.weight(8))
        (flow,) = graph.add("Relu", flow)
        (flow,) = graph.add("Identity", flow)
    return graph.model(flow, 8)


def _wide(nodes: int) -> onnx.ModelProto:
    """One value with a quarter as many readers as there are nodes, and one Concat with as many inputs."""
    graph, parts = _Graph(), []
    while len(graph.nodes) < nodes - 1:
        (flow,) = graph.add("Mul", "x", graph.weight(8))
        (flow,) = graph.add("Add", flow, graph.weight(8))
        (flow,) = graph.add("Relu", flow)
        parts += graph.add("Sqrt", flow)
    (flow,) = graph.add("Concat", *parts, axis=1)
    return graph.model(flow, 8 * len(parts))


def _recurrent(nodes: int) -> onnx.ModelProto:
    """An unrolled recurrent cell with gates: every step reads the same three weights."""
    graph, flow = _Graph(), "x"
    inner, outer, bias = graph.weight(8, 16), graph.weight(8, 16), graph.weight(16)
    while len(graph.nodes) < nodes:
        (left,), (right,) = graph.add("MatMul", "x", inner), graph.add("MatMul", flow, outer)
        (both,) = graph.add("Add", *graph.add("Add", left, right), bias)
        gate, content = graph.add("Split", both, outputs=2, axis=1, num_outputs=2)
        (flow,) = graph.add("Mul", *graph.add("Sigmoid", gate), *graph.add("Tanh", content))
    return graph.model(flow, 8)


def _transformer(nodes: int) -> onnx.ModelProto:
    """Layers as torchscript writes them: LayerNorm, attention with two heads, and Gelu in elementary operators."""
    graph, flow = _Graph(), "x"
    (half, one, two, root) = (graph.constant(np.float32(number)) for number in (0.5, 1, 2, math.sqrt(2)))
    epsilon, last = graph.constant(np.float32(1e-5)), graph.constant(np.array([-1]))
    apart, together = graph.constant(np.array([-1, 4, 2, 4])), graph.constant(np.array([-1, 8]))

    def linear(value: str, columns: int = 8, rows: int = 8) -> str:
        return graph.add("Add", *graph.add("MatMul", value, graph.weight(rows, columns)), graph.weight(columns))[0]

    def normalized(value: str) -> str:
        (mean,) = graph.add("ReduceMean", value, last)
        (centred,) = graph.add("Sub", value, mean)
        (variance,) = graph.add("ReduceMean", *graph.add("Pow", centred, two), last)
        (deviation,) = graph.add("Sqrt", *graph.add("Add", variance, epsilon))
        (scaled,) = graph.add("Mul", *graph.add("Div", centred, deviation), graph.weight(8))
        return graph.add("Add", scaled, graph.weight(8))[0]

    def heads(value: str, *perm: int) -> str:
        return graph.add("Transpose", *graph.add("Reshape", linear(value), apart), perm=perm)[0]

    while len(graph.nodes) < nodes:
        query, key, content = heads(flow, 0, 2, 1, 3), heads(flow, 0, 2, 3, 1), heads(flow, 0, 2, 1, 3)
        (scores,) = graph.add("Div", *graph.add("MatMul", query, key), two)
        (mixed,) = graph.add("MatMul", *graph.add("Softmax", scores, axis=-1), content)
        (joined,) = graph.add("Reshape", *graph.add("Transpose", mixed, perm=[0, 2, 1, 3]), together)
        flow = normalized(graph.add("Add", linear(joined), flow)[0])
        inner = linear(flow, 16)
        (error,) = graph.add("Add", *graph.add("Erf", *graph.add("Div", inner, root)), one)
        (active,) = graph.add("Mul", *graph.add("Mul", inner, error), half)
        flow = normalized(graph.add("Add", linear(active, 8, 16), flow)[0])
    return graph.model(flow, 8)


def _dependent(nodes: int) -> onnx.ModelProto:
    """Shapes that are known only once the one before them is."""
    graph = _Graph()
    (sizes,) = graph.add("Identity", graph.constant(np.array([1, 8])))
    while len(graph.nodes) < nodes - 2:
        (flow,) = graph.add("ConstantOfShape", sizes)
        (sizes,) = graph.add("Shape", flow)
    (flow,) = graph.add("Add", "x", *graph.add("ConstantOfShape", sizes))
    return graph.model(flow, 8)


def _weighty(nodes: int) -> onnx.ModelProto:
    """As many initializers as nodes, all with a reader of its own."""
    graph, flow = _Graph(), "x"
    while len(graph.nodes) < nodes:
        (flow,) = graph.add(("Add", "Mul", "Sub", "Max")[len(graph.nodes) % 4], flow, graph.weight(8))
    return graph.model(flow, 8)


def _parted(nodes: int) -> onnx.ModelProto:
    """Half of the nodes repeat the input to a wide value, one Concat more each; one Split takes it apart again."""
    graph, flow = _Graph(), "x"
    parts = nodes // 2 - 1
    for _ in range(parts - 1):
        (flow,) = graph.add("Concat", flow, "x", axis=1)
    (wide,) = graph.add("Relu", flow)
    made = graph.add("Split", wide, outputs=parts, axis=1, num_outputs=parts)
    (flow,) = graph.add("Sum", *(graph.add("Tanh", part)[0] for part in made))
    return graph.model(flow, 8)


KINDS: tuple[tuple[str, Callable[[int], onnx.ModelProto], tuple[int, ...]], ...] = (
    ("blocks with heads", chain, (1_000, 10_000, 100_000)),
    ("plain chain", _plain, (1_000, 10_000)),
    ("transformer", _transformer, (1_000, 10_000, 20_000)),
    ("unrolled cell", _recurrent, (10_000,)),
    ("wide", _wide, (10_000, 40_000)),
    ("dependent shapes", _dependent, (1_600,)),
    ("initializers", _weighty, (10_000,)),
    ("parts", _parted, (2_000, 10_000)),
)


@dataclass(frozen=True)
class Cost:
    """Processor seconds of a process, and the most memory that it took, in MB."""

    seconds: float
    memory: float


def cost(tool: str, source: Path, destination: Path, runs: int) -> Cost | None:
    """Of the cheapest process, its imports included; None where the tool fails."""
    code = f"source, destination = sys.argv[1:]\n{_IMPORTS[tool]}\n{_RUN[tool]}"
    return _process(code, [str(source), str(destination)], runs)


_LIMIT = 300
"""Processor seconds after which a process is ended."""

_LIMITED = f"import resource, sys\nresource.setrlimit(resource.RLIMIT_CPU, ({_LIMIT}, {_LIMIT}))\n"

_PEAK = """
for line in open("/proc/self/status"):
    if line.startswith("VmHWM:"):
        sys.stderr.write("\\n" + line.split()[1])
"""
"""Asked in the process itself: what the system says of a child begins with the memory of its parent."""


def _process(code: str, arguments: list[str], runs: int) -> Cost | None:
    best: Cost | None = None
    for _ in range(runs):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with tempfile.TemporaryFile("w+") as stream:
            command = [sys.executable, "-c", f"{_LIMITED}{code}{_PEAK}", *arguments]
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=stream)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            stream.seek(0)
            kilobytes = stream.read().rpartition("\n")[2]
        if process.returncode:
            return None
        spent = usage.ru_utime + usage.ru_stime
        if best is None or spent < best.seconds:
            best = Cost(spent, int(kilobytes) / 1024)
    return best


def row(label: str, source: Path, folder: Path, tools: list[str], runs: int) -> str:
    """One row of the table."""
    spent = {tool: cost(tool, source, folder / f"{tool}.onnx", runs) for tool in tools}
    ours = spent["ours"]
    cells = [label, *(_text(spent[tool]) if tool in spent else "-" for tool in ["ours", *_PEERS])]
    if "attribute" in spent:
        cells.append(_text(spent["attribute"]))
    for peer in _PEERS:
        theirs = spent.get(peer)
        cells.append("-" if ours is None or theirs is None else f"{ours.seconds / theirs.seconds:.2f}")
    theirs = spent["onnxsim"]
    cells.append("-" if ours is None or theirs is None else f"{ours.memory / theirs.memory:.2f}")
    return f"| {' | '.join(cells)} |"


def _text(one: Cost | None) -> str:
    return f"failed, or over {_LIMIT} s" if one is None else f"{one.seconds:.2f} s, {one.memory:.0f} MB"


def main() -> None:
    """Print the table, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--attribute", action="store_true", help="measure the attribution matrix as well")
    parser.add_argument("--runs", type=int, default=3, help="processes of each tool (default: %(default)s)")
    parser.add_argument("--largest", type=int, default=100_000, help="nodes of the largest built graph")
    arguments = parser.parse_args()
    tools = ["ours", *_PEERS, *(["attribute"] if arguments.attribute else [])]
    runs = arguments.runs
    imports = [f"{tool} {_text(_process(_IMPORTS[tool], [], runs))}" for tool in tools]
    print(f"Of it the imports: {'; '.join(imports)}.\n")
    print(
        f"| file | {' | '.join(tools)} | to onnxsim | to onnxslim | memory to onnxsim |\n|{'---|' * (len(tools) + 4)}"
    )
    with tempfile.TemporaryDirectory(prefix="modelcheck-speed-") as name:
        folder = Path(name)
        for file in arguments.files:
            print(row(file.name, file, folder, tools, runs), flush=True)
        for kind, build, sizes in KINDS if not arguments.files else ():
            for size in (size for size in sizes if size <= arguments.largest):
                onnx.save(build(size), folder / "graph.onnx")
                measured = tools if size <= _MOST_FOR_ONNXSLIM else [tool for tool in tools if tool != "onnxslim"]
                print(row(f"{kind}, {size:,} nodes", folder / "graph.onnx", folder, measured, runs), flush=True)


if __name__ == "__main__":
    main()
