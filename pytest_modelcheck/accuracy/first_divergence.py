"""The first node whose result differs while what it reads agrees; `divergence_search` says how it is looked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import onnx_ir as ir
import torch

from pytest_modelcheck.accuracy.divergence_search import JUMP, ROUNDING, Search
from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.output import OutputComparison
from pytest_modelcheck.accuracy.places import node_place, read_by
from pytest_modelcheck.accuracy.probe import GraphProbe, ModuleProbe, Probe
from pytest_modelcheck.accuracy.stages import Inputs, to_numpy
from pytest_modelcheck.accuracy.tolerance import DEFAULTS, Tolerances
from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.graph.counts import is_constant
from pytest_modelcheck.hierarchy import HierarchyReport
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.runtimes import AS_WRITTEN, How


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Where a candidate begins to differ.

    Attributes:
        value: Name of the first value that differs.
        nodes: Places of the nodes to blame, in execution order, the one that makes `value` last: one node, or the
            stretch of nodes between agreement and difference that the reference has no counterpart for.
        comparison: The value in the reference against the candidate.
        agreeing: Names of the values that this stretch reads and that agree.
        initializers: Names of the initializers it reads whose content differs between the two graphs.
        rounds, looked: How many runs it took, and how many values were looked at.
        looking_changed: What the candidate's own outputs differ by while they are looked at; 0.0 if looking changed
            nothing. Only onnxruntime's optimizer sees a graph differently because more of its values are outputs.
    """

    value: str
    nodes: tuple[str, ...]
    comparison: OutputComparison
    agreeing: tuple[str, ...]
    initializers: tuple[str, ...]
    rounds: int
    looked: int
    looking_changed: float

    def describe(self) -> tuple[str, ...]:
        """Lines for a finding's `where`."""
        lines = [f"first difference at {self.nodes[-1]}: {self.comparison.detail}"]
        if len(self.nodes) > 1:
            shown = "; ".join(self.nodes[-6:-1])
            before = f"{len(self.nodes) - 1} nodes" if len(self.nodes) > 2 else "node"
            lines.append(f"or in the {before} before it that the reference does not have: {shown}")
        if self.initializers:
            lines.append(f"initializers that differ: {', '.join(self.initializers)}")
        if self.looking_changed:
            lines.append(f"looking at values inside changed the graph's own outputs by {self.looking_changed:.3g}")
        return tuple(lines)


def find_first_divergence(
    reference: ir.Model | torch.nn.Module,
    candidate: ir.Model,
    inputs: Inputs,
    *,
    case: ModelCase | None = None,
    tolerances: Tolerances = DEFAULTS,
    how: How = AS_WRITTEN,
    reference_how: How | None = None,
) -> Divergence | None:
    """Find where `candidate` begins to differ from `reference`.

    Args:
        reference: Another ONNX graph, run as it is written, whose values are matched by name; or the torch module
            that `candidate` was exported from, whose submodules' results are matched by owner.
        candidate: The graph to explain.
        inputs: One set of inputs, e.g. the worst seed's.
        case: The model case; needed for a torch module.
        tolerances: How closely the outputs must agree.
        how: How the candidate is run.
        reference_how: How a reference graph is run; None for the same way, as it is written.

    Returns:
        The first divergence; None where all outputs agree.

    Raises:
        UnusableReferenceError: if an output of the reference is NaN, or is missing in the candidate.
        SessionError, FeedError: if a graph cannot be run on `inputs`.
    """
    probe: Probe
    if isinstance(reference, torch.nn.Module):
        if case is None or not isinstance(inputs, ModuleInputs):
            raise ModelCaseError("a torch module as reference needs its model case, and inputs from module_inputs")
        probe = ModuleProbe(case, reference, inputs, candidate)
    else:
        probe = GraphProbe(reference, inputs, reference_how or replace(how, optimizer=False))
    graph_probe = GraphProbe(candidate, inputs, how)
    search = Search(probe, graph_probe, candidate, tolerances)
    start = search.first_differing_output()
    if start is None:
        return None
    found = search.earliest(start)
    report = probe.report if isinstance(probe, ModuleProbe) else None
    return _divergence(search, found, _weights(reference), report)


def _weights(model: ir.Model | torch.nn.Module) -> dict[str, Callable[[], Array]]:
    """Initializers, or parameters and buffers, by name; read when asked for."""
    if isinstance(model, ir.Model):
        values = model.graph.initializers.items()
        return {name: value.const_value.numpy for name, value in values if value.const_value is not None}
    tensors = (*model.named_parameters(), *model.named_buffers())
    return {name: partial(to_numpy, tensor) for name, tensor in tensors}


def _divergence(
    search: Search, value: ir.Value, weights: Mapping[str, Callable[[], Array]], report: HierarchyReport | None
) -> Divergence:
    """Put together what is known about the value that was found."""
    limit = min(1.0, max(ROUNDING, search.difference(value) / JUMP))
    inside, border = search.stretch(value, limit)
    nodes = list(dict.fromkeys(node for inner in inside if (node := inner.producer()) is not None))
    read = {v.name: v.const_value for node in nodes for v in read_by(node) if v.name and v.const_value is not None}
    differing = [name for name, tensor in read.items() if _differs(weights.get(name), tensor)]
    assert value.name is not None
    return Divergence(
        value=value.name,
        nodes=tuple(node_place(node, _owner(node, report)) for node in nodes if not is_constant(node)),
        comparison=search.compared[value.name],
        agreeing=tuple(v.name for v in border if v.name),
        initializers=tuple(differing),
        rounds=search.rounds,
        looked=search.looked,
        looking_changed=search.looking_changed,
    )


def _owner(node: ir.Node, report: HierarchyReport | None) -> str | None:
    owner = report.owner(node.outputs[0].name or "") if report is not None else None
    return None if owner is None else owner.path


def _differs(read: Callable[[], Array] | None, tensor: ir.TensorProtocol) -> bool:
    """Whether both hold a weight of this shape, with other bytes."""
    if read is None:
        return False
    expected = read()
    if expected.shape != tuple(tensor.shape.numpy()):
        return False
    return expected.tobytes() != tensor.tobytes()
