"""ExecuTorch with XNNPACK, for `serve.py`; what XNNPACK does not take, ExecuTorch's own kernels compute."""

from __future__ import annotations

import json
import operator
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_NAMES = "extra/names.json"
_UNKNOWN = re.compile(r"Operator torch\._ops\.(\S+) is not in Core ATen|'(\w+::\w+)'")
_FRAME = re.compile(r'File "(?:[^"]*/)?([^"/]+)", line (\d+), in (\S+)')


class UnknownOperatorsError(Exception):
    """Operators that ExecuTorch does not have, and where the module has them."""

    def __init__(self, operators: Sequence[str], program: Any = None) -> None:
        super().__init__(f"ExecuTorch has no {', '.join(operators)}")
        self.operators = operators
        self.where = [] if program is None else list(dict.fromkeys(_places(program, operators)))


class Model:
    """The program that was loaded."""

    def load(self, model: str, threads: int) -> dict[str, Any]:
        import torch

        with zipfile.ZipFile(model) as archive:
            (file,) = (name for name in archive.namelist() if name.endswith(_NAMES))
            names = json.loads(archive.read(file))
        if unknown := [_plain(name) for name in names["operators"] if not _is_known(torch.ops, name)]:
            raise UnknownOperatorsError(unknown)  # of the user's own library, which this process does not import
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        program = torch.export.load(model)
        try:
            edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
            executes = _executes(edge.exported_program().graph_module)
            made = edge.to_executorch()
        except Exception as error:  # operators without a kernel are refused by several classes, named in the text alone
            if unknown := [_plain(core or custom) for core, custom in _UNKNOWN.findall(str(error))]:
                raise UnknownOperatorsError(unknown, program) from None
            raise
        kernels = {name.partition(".")[0] for name in portable_lib._get_operator_names()}
        wanted = {entry.name for plan in made.executorch_program.execution_plan for entry in plan.operators}
        if unknown := sorted(map(_plain, wanted - kernels)):
            raise UnknownOperatorsError(unknown, program)
        portable_lib._unsafe_reset_threadpool(threads)
        # The runtime reads the buffer and does not own it: freed, a later run is a segmentation fault.
        self.buffer = made.buffer
        self.program = Runtime.get().load_program(self.buffer)
        self.method = self.program.load_method("forward")
        inputs, outputs = _ports(program)
        return {
            "bytes": len(made.buffer),
            "executes": executes,
            "inputs": [{"name": name, **port} for name, port in zip(names["inputs"], inputs, strict=True)],
            "outputs": [{"name": name, **port} for name, port in zip(names["outputs"], outputs, strict=True)],
        }

    def feed(self, arrays: Mapping[str, Any]) -> None:
        import torch

        self.fed = [torch.from_numpy(array) for array in arrays.values()]

    def invoke(self) -> None:
        self.given = self.method.execute(self.fed)

    def results(self) -> list[Any]:
        return [tensor.numpy() for tensor in self.given]


def _ports(program: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Type and sizes of what the program takes and gives, in order."""
    nodes = {node.name: node for node in program.graph.nodes}
    sides = (program.graph_signature.user_inputs, program.graph_signature.user_outputs)
    inputs, outputs = ([nodes[name].meta["val"] for name in side] for side in sides)
    described = [
        [{"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)} for value in side]
        for side in (inputs, outputs)
    ]
    return described[0], described[1]


def _executes(graph: Any) -> dict[str, int]:
    """Operators that the delegate runs, and those that it does not, each of them by its name."""
    delegates = [node for node in graph.graph.nodes if "call_delegate" in str(node.target)]
    delegated = sum(len(_calls(getattr(graph, node.args[0].target).original_module)) for node in delegates)
    own = [_plain(str(getattr(node.target, "_op", node.target))) for node in _calls(graph) if node not in delegates]
    counts = {"delegated subgraphs": len(delegates), "delegated nodes": delegated, "non-delegated nodes": len(own)}
    return {**counts, **Counter(own)}


def _calls(graph: Any) -> list[Any]:
    nodes = (node for node in graph.graph.nodes if node.op == "call_function")
    return [node for node in nodes if node.target is not operator.getitem]


def _is_known(library: Any, name: str) -> bool:
    domain, operator_name, *_ = name.split(".")
    return hasattr(getattr(library, domain), operator_name)


def _plain(name: str) -> str:
    """``aten.add`` of ``aten::add`` and of ``aten.add.Tensor``."""
    return ".".join(name.replace("::", ".").split(".")[:2])


def _places(program: Any, operators: Sequence[str]) -> Iterator[str]:
    """Module and source line of each node that has one of them, once it is decomposed."""
    for node in program.run_decompositions().graph.nodes:
        name = _plain(str(node.target))
        if node.op == "call_function" and {name, f"{name}_copy"} & {*operators}:
            modules = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
            frames = _FRAME.findall(node.meta.get("stack_trace") or "")
            line = " ({}:{}, in {})".format(*frames[-1]) if frames else ""
            yield f"{name} in {(modules and modules[-1]) or 'the root module'}{line}"
