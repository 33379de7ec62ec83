"""Looking at the values inside a model: a few at a time, made outputs of a graph, or caught by hooks on modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Protocol

import onnx_ir as ir
import torch

from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.stages import Inputs, feeds_for, to_numpy, torch_stage
from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.graph.shape_inference import infer_shapes
from pytest_modelcheck.hierarchy import HierarchyReport, hierarchy_of_model
from pytest_modelcheck.hierarchy.recorded_calls import modules_that_ran
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.runtimes import AS_WRITTEN, How, open_session
from pytest_modelcheck.runtimes.freed_memory import release_mapped_weights, return_freed_memory


class Probe(Protocol):
    """Something whose inner values can be looked at under the names of an ONNX graph's values."""

    @property
    def names(self) -> frozenset[str]:
        """The values it can show."""

    def outputs(self) -> Mapping[str, Array]:
        """The model's own outputs, without looking."""

    def look(self, names: Sequence[str]) -> Mapping[str, Array]:
        """The values of `names`, and the model's own outputs while they are looked at."""


class GraphProbe:
    """An ONNX model in a runtime, with inner values as additional outputs of a copy."""

    def __init__(self, model: ir.Model, inputs: Inputs, how: How = AS_WRITTEN) -> None:
        self._model = model.clone()  # shares the weights
        infer_shapes(self._model)
        self._inputs = inputs
        self._how = replace(how, spare_memory=True)
        produced = (value for node in self._model.graph for value in node.outputs)
        self._produced = {value.name: value for value in produced if value.name}
        self.names = frozenset(name for name, value in self._produced.items() if _is_tensor(value))

    def outputs(self) -> Mapping[str, Array]:
        return self._run()

    def look(self, names: Sequence[str]) -> Mapping[str, Array]:
        outputs = self._model.graph.outputs
        own = len(outputs)
        already = {value.name for value in outputs}
        outputs.extend(self._produced[name] for name in names if name not in already)
        try:
            return self._run()
        finally:
            del outputs[own:]

    def _run(self) -> Mapping[str, Array]:
        session = open_session(self._model, self._how)
        outputs = session.run(feeds_for(session, self._inputs))
        del session
        release_mapped_weights(self._model)
        return_freed_memory(collect=False)  # the next session comes on top of what this one leaves in the arenas
        return outputs


class ModuleProbe:
    """A torch module, whose submodules' results are shown under the names of the ONNX values that stand for them.

    A module that was called once stands for the last value, in the order of the graph, that nodes of this module or of
    a module inside it make and something outside reads. Modules called several times have no value of their own.
    """

    def __init__(self, case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs, graph: ir.Model) -> None:
        self._stage = torch_stage(case, module)
        self._module = module
        self._inputs = inputs
        calls = modules_that_ran(case, module, inputs)
        once = {path for path in calls.ran if sum(n for stack, n in calls.stacks.items() if stack[-1] == path) == 1}
        self.report = hierarchy_of_model(graph, calls)
        self._paths = _values_of_modules(graph, self.report, once - {""})
        self.names = frozenset(self._paths)

    def outputs(self) -> Mapping[str, Array]:
        with self._stage.open() as run:
            return run(self._inputs)

    def look(self, names: Sequence[str]) -> Mapping[str, Array]:
        caught: dict[str, Array] = {}
        with ExitStack() as stack:
            for name in names:
                submodule = self._module.get_submodule(self._paths[name])
                handle = submodule.register_forward_hook(_catcher(name, caught))
                stack.callback(handle.remove)
            outputs = self.outputs()
        return {**caught, **outputs}


def _is_tensor(value: ir.Value) -> bool:
    return value.type is None or isinstance(value.type, ir.TensorType)


def _catcher(name: str, caught: dict[str, Array]) -> Any:
    def catch(module: torch.nn.Module, args: Any, result: Any) -> None:
        tensor = _first_tensor(result)
        if tensor is not None:
            caught[name] = to_numpy(tensor).copy()  # a later operation may write into it

    return catch


def _first_tensor(result: Any) -> torch.Tensor | None:
    """The tensor that a module returns, or the first of several; None where another has its shape (cos and sin): which
    of them a value of the graph is then cannot be said."""
    if isinstance(result, torch.Tensor):
        return result
    values: Iterable[Any] = result.values() if isinstance(result, Mapping) else result
    if not isinstance(result, Mapping | tuple | list):
        return None
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return tensors[0] if tensors and all(other.shape != tensors[0].shape for other in tensors[1:]) else None


def _values_of_modules(model: ir.Model, report: HierarchyReport, paths: Iterable[str]) -> dict[str, str]:
    """Value name -> the innermost module that it is the result of."""
    owners: dict[ir.Node, str] = {}
    for node in model.graph:
        owner = next((found for value in node.outputs if value.name and (found := report.owner(value.name))), None)
        if owner is not None:
            owners[node] = owner.path
    results: dict[str, str] = {}
    for path in sorted(paths, key=lambda path: path.count(".")):  # inner modules last: they keep the value
        inside = {node for node, owner in owners.items() if owner == path or owner.startswith(f"{path}.")}
        leaving = [
            value.name
            for node in model.graph
            if node in inside
            for value in node.outputs
            if value.name and (value.is_graph_output() or any(use.node not in inside for use in value.uses()))
        ]
        if leaving:
            results[leaving[-1]] = path
    return results
