"""Processor seconds of ``optimize`` beside onnxsim and onnxslim, over graph-heavy files and any files that are named.

    python -m benchmarks.optimize_speed                          # built graphs of 1,000 and 10,000 nodes
    python -m benchmarks.optimize_speed bert-base.onnx           # these files
    python -m benchmarks.optimize_speed --attribute bert-base.onnx   # the matrix as well, leave-one-out included

Each run is a process on one thread, the best of `RUNS`; its imports are counted, and shown beside. A ratio is
ours to theirs: below 1 we are faster. Other work on the machine makes processor seconds grow, too: use an idle one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.peers.growing import chain

RUNS = 3
SIZES = (1_000, 10_000)

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


KINDS: dict[str, Callable[[int], onnx.ModelProto]] = {
    "blocks with heads": chain,
    "plain chain": _plain,
    "wide": _wide,
    "unrolled cell": _recurrent,
}


def seconds(tool: str, source: Path, destination: Path) -> float | None:
    """Processor seconds of one process, its imports included; None where the tool fails."""
    code = f"import sys\nsource, destination = sys.argv[1:]\n{_IMPORTS[tool]}\n{_RUN[tool]}\n"
    return _process([sys.executable, "-c", code, str(source), str(destination)])


def _process(arguments: list[str]) -> float | None:
    best: float | None = None
    for _ in range(RUNS):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            return None
        spent = usage.ru_utime + usage.ru_stime
        best = spent if best is None else min(best, spent)
    return best


def row(label: str, source: Path, folder: Path, tools: list[str]) -> str:
    """One row of the table."""
    spent = {tool: seconds(tool, source, folder / f"{tool}.onnx") for tool in tools}
    ours = spent["ours"]
    cells = [label, *(_text(number) for number in spent.values())]
    for peer in ("onnxsim", "onnxslim"):
        theirs = spent[peer]
        cells.append("-" if ours is None or theirs is None else f"{ours / theirs:.2f}")
    return f"| {' | '.join(cells)} |"


def _text(number: float | None) -> str:
    return "failed" if number is None else f"{number:.2f}"


def main() -> None:
    """Print the table, a row as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--attribute", action="store_true", help="measure the attribution matrix as well")
    arguments = parser.parse_args()
    tools = ["ours", "onnxsim", "onnxslim", *(["attribute"] if arguments.attribute else [])]
    imports = [f"{tool} {_text(_process([sys.executable, '-c', _IMPORTS[tool]]))}" for tool in tools]
    print(f"Of it the imports: {', '.join(imports)}.\n")
    print(f"| file | {' | '.join(tools)} | to onnxsim | to onnxslim |\n|{'---|' * (len(tools) + 3)}")
    with tempfile.TemporaryDirectory(prefix="modelcheck-speed-") as name:
        folder = Path(name)
        for file in arguments.files:
            print(row(file.name, file, folder, tools), flush=True)
        for kind, build in KINDS.items() if not arguments.files else ():
            for size in SIZES:
                onnx.save(build(size), folder / "graph.onnx")
                print(row(f"{kind}, {size:,} nodes", folder / "graph.onnx", folder, tools), flush=True)


if __name__ == "__main__":
    main()
