"""Branches of If nodes that no input took: what they compute was compared with nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from pytest_modelcheck.accuracy.places import node_place
from pytest_modelcheck.accuracy.stages import Inputs, session_stage
from pytest_modelcheck.runtimes import How

_OUTPUT = "modelcheck_condition_"


def branches_without_a_run(graph: ir.Model, inputs: Iterable[Inputs], how: How) -> tuple[str, ...]:
    """One line for each If node of the main graph of which one branch never ran.

    Args:
        graph: The exported graph.
        inputs: What the sweep ran.
        how: How the graph is run as it is written.

    Example:
        >>> branches_without_a_run(graph, [inputs(seed) for seed in range(20)], how)
        ("the else branch of If 'node_cond_3' in gate never ran: its condition is true for all 20 inputs",)
    """
    nodes = [node for node in graph.graph if node.op_type == "If" and not node.domain]
    if not nodes:
        return ()
    taken: list[set[bool]] = [set() for _ in nodes]
    count = 0
    with session_stage("conditions", _conditions(graph), how=how).open() as run:
        for given in inputs:
            count += 1
            for index, values in enumerate(run(given).values()):
                taken[index].add(bool(np.asarray(values).reshape(-1)[0]))
    return tuple(_lines(nodes, taken, count))


def _lines(nodes: Sequence[ir.Node], taken: Sequence[set[bool]], count: int) -> Iterable[str]:
    for node, values in zip(nodes, taken, strict=True):
        if len(values) == 1:
            value = next(iter(values))
            branch, said = ("else", "true") if value else ("then", "false")
            inputs = f"all {count} inputs" if count > 1 else "the one input"
            yield f"the {branch} branch of {node_place(node)} never ran: its condition is {said} for {inputs}"


def _conditions(graph: ir.Model) -> ir.Model:
    """`graph` up to the conditions of its If nodes, which are its outputs."""
    copy = graph.clone()
    found = [node for node in copy.graph if node.op_type == "If" and not node.domain]
    copies = [ir.node("Identity", [node.inputs[0]]) for node in found]
    for index, node in enumerate(copies):
        node.outputs[0].name = f"{_OUTPUT}{index}"
        node.outputs[0].dtype = ir.DataType.BOOL
        copy.graph.append(node)
    copy.graph.outputs[:] = [node.outputs[0] for node in copies]
    RemoveUnusedNodesPass()(copy)
    return copy
