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
_STOPPED = re.compile(r"While executing %.*?target=torch\.ops\.([\w.]+)")
_UNBOUNDED = 2**31
_FRAME = re.compile(r'File "(?:[^"]*/)?([^"/]+)", line (\d+), in (\S+)')


class LoweringError(Exception):
    """A program that ExecuTorch does not convert, and where the module has what it stops at."""

    def __init__(self, reason: str, where: Sequence[str], operators: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.operators, self.where = operators, list(dict.fromkeys(where))


class Model:
    """The program that was loaded."""

    def load(self, models: Sequence[str], threads: int) -> dict[str, Any]:
        """Loads the first of the models that can be converted; where none can, the reason is that of the last."""
        import torch
        from executorch.extension.pybindings import portable_lib
        from executorch.runtime import Runtime

        fixed = ""
        for model in models:
            names = _names(model)
            if unknown := [_plain(name) for name in names["operators"] if not _is_known(torch.ops, name)]:
                raise _unknown(unknown)  # of the user's own library, which this process does not import
            program = torch.export.load(model)
            try:
                self.buffer, executes = _converted(program)
                break
            except Exception as error:  # whatever lowering raises of dynamic sizes; of fixed ones it is the answer
                if model == models[-1]:
                    raise
                fixed = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        portable_lib._unsafe_reset_threadpool(threads)
        # The runtime reads the buffer and does not own it: freed, a later run is a segmentation fault.
        self.program = Runtime.get().load_program(self.buffer)
        self.method = self.program.load_method("forward")
        inputs, outputs = _ports(program)
        return {
            "bytes": len(self.buffer),
            "executes": executes,
            "fixed": names["fixed"] or fixed,
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


def _names(model: str) -> dict[str, Any]:
    with zipfile.ZipFile(model) as archive:
        (file,) = (name for name in archive.namelist() if name.endswith(_NAMES))
        names: dict[str, Any] = json.loads(archive.read(file))
    return names


def _converted(program: Any) -> tuple[bytes, dict[str, int]]:
    """The program for the runtime, and which operators it executes."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.extension.pybindings import portable_lib

    try:
        edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        executes = _executes(edge.exported_program().graph_module)
        made = edge.to_executorch()
    except Exception as error:  # operators without a kernel are refused by several classes, named in the text alone
        said = str(error)
        if unknown := [_plain(core or custom) for core, custom in _UNKNOWN.findall(said)]:
            raise _unknown(unknown, program) from None
        if stopped := _STOPPED.search(said):
            reason = f"{type(error).__name__}: {said[: stopped.start()].strip()}"
            raise LoweringError(reason, _places_of_line(program, stopped)) from None
        raise
    kernels = {name.partition(".")[0] for name in portable_lib._get_operator_names()}
    wanted = {entry.name for plan in made.executorch_program.execution_plan for entry in plan.operators}
    if unknown := sorted(map(_plain, wanted - kernels)):
        raise _unknown(unknown, program)
    return made.buffer, executes


def _unknown(operators: Sequence[str], program: Any = None) -> LoweringError:
    where = () if program is None else _places(program, operators)
    return LoweringError(f"ExecuTorch has no {', '.join(operators)}", [*where], operators)


def _ports(program: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Type and sizes of what the program takes and gives, in order."""
    nodes = {node.name: node for node in program.graph.nodes}
    sides = (program.graph_signature.user_inputs, program.graph_signature.user_outputs)
    inputs, outputs = ([nodes[name].meta["val"] for name in side] for side in sides)
    described = [[_port(value, program.range_constraints) for value in side] for side in (inputs, outputs)]
    return described[0], described[1]


def _port(value: Any, ranges: Mapping[Any, Any]) -> dict[str, Any]:
    """Sizes are names where they are dynamic; `most` is what memory is planned for: the example's without a bound."""
    shape = [size if isinstance(size, int) else size.node for size in value.shape]
    uppers = [None if isinstance(size, int) else getattr(ranges.get(size.expr), "upper", None) for size in shape]
    return {
        "dtype": str(value.dtype).removeprefix("torch."),
        "shape": [size if isinstance(size, int) else str(size.expr) for size in shape],
        "most": [
            size if isinstance(size, int) else int(upper) if upper is not None and upper < _UNBOUNDED else size.hint
            for size, upper in zip(shape, uppers, strict=True)
        ],
    }


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
    """Each node that has one of them, once it is decomposed."""
    for node in program.run_decompositions().graph.nodes:
        if node.op == "call_function" and {name := _plain(str(node.target)), f"{name}_copy"} & {*operators}:
            yield _place(node)


def _places_of_line(program: Any, stopped: re.Match[str]) -> list[str]:
    """Each node of the operator and of the lines, one calling the other, that an error of torch names; the node's name
    in it is of a later graph."""
    calls, operator_name = _FRAME.findall(stopped.string[stopped.end() :]), _plain(stopped[1])
    nodes = (node for node in program.graph.nodes if _plain(str(node.target)) == operator_name)
    return [_place(node) for node in nodes if calls and _frames(node) == calls]


def _place(node: Any) -> str:
    """Operator, module and source line."""
    modules = [path for path, _ in node.meta.get("nn_module_stack", {}).values()]
    line = " ({}:{}, in {})".format(*frames[-1]) if (frames := _frames(node)) else ""
    return f"{_plain(str(node.target))} in {(modules and modules[-1]) or 'the root module'}{line}"


def _frames(node: Any) -> list[tuple[str, str, str]]:
    return _FRAME.findall(node.meta.get("stack_trace") or "")
