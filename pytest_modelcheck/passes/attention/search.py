"""Attention by data flow: ``softmax(q @ k [scaled, masked]) @ v``, whatever else the exporter wrote between these.

The anchor is the Softmax over the last axis. Backwards from it, through additions, scalings and Where masks, a MatMul
of two computed values is q times k; forwards, a MatMul that reads the weights as its left operand multiplies by v.
Nothing is assumed about how q, k and v are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.graph.constants import is_constant
from pytest_modelcheck.graph.readers import read_once, reads
from pytest_modelcheck.rewriting import Match, Num, Op, Var
from pytest_modelcheck.rewriting.matching import keeps_rank, only_reader, other_input, rank, scalar

_MAX_STEPS = 8
_MAX_VISITED = 60
"""Nodes between an operand and its projection; rotary embeddings and repeated key-value heads are about 25."""

_PRODUCTS = ("MatMul", "Gemm")
_STOPS = ("Softmax", "LayerNormalization", "RMSNormalization", "Loop", "If", "Scan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """One attention.

    Attributes:
        scores: The MatMul of q: (..., queries, depth) and k: (..., depth, keys).
        between: The nodes from `scores` to the Softmax, in that order: Add, Mul, Div and Where.
        softmax: The Softmax over the keys.
        guard: ``Where(IsNaN(p), 0, p)`` behind the Softmax, as (IsNaN, Where); None where there is none.
        context: The MatMul of the weights and v: (..., keys, depth).
    """

    scores: ir.Node
    between: tuple[ir.Node, ...]
    softmax: ir.Node
    guard: tuple[ir.Node, ir.Node] | None
    context: ir.Node

    @property
    def operands(self) -> tuple[ir.Value, ir.Value, ir.Value]:
        """q, k and v, as the products read them."""
        return cast(tuple[ir.Value, ir.Value, ir.Value], (*self.scores.inputs, self.context.inputs[1]))

    @property
    def masks(self) -> Iterator[tuple[ir.Node, ir.Value]]:
        """The Add and Where nodes between scores and Softmax, each with its other operand (Where: its condition)."""
        current = self.scores.outputs[0]
        for node in self.between:
            if node.op_type == "Add" and (mask := other_input(node, current)) is not None:
                yield node, mask
            elif node.op_type == "Where" and node.inputs[0] is not None:
                yield node, node.inputs[0]
            current = node.outputs[0]


def find_attention(softmax: ir.Node) -> Attention | None:
    """The attention around `softmax`, None where there is none."""
    last = integer_attribute(softmax, "axis", -1)
    dimensions = rank(softmax.outputs[0]) or rank(softmax.inputs[0])
    if last != -1 and (dimensions is None or last != dimensions - 1):
        return None
    path = _path_to_scores(softmax.inputs[0], _MAX_STEPS)
    if path is None:
        return None
    scores, between = path
    guard = _nan_guard(softmax)
    weights = softmax.outputs[0] if guard is None else guard[1].outputs[0]
    context = only_reader(weights, "MatMul")
    if context is None or context.inputs[0] is not weights:
        return None
    return Attention(scores=scores, between=between, softmax=softmax, guard=guard, context=context)


def nodes_behind(operands: Iterable[ir.Value | None]) -> list[ir.Node]:
    """The nodes of their scope that `operands` are computed from, up to and with the first products of matrices."""
    found: dict[ir.Node, None] = {}
    for operand in operands:
        seen: set[ir.Node] = set()
        stack = [operand]
        while stack and len(seen) < _MAX_VISITED:
            value = stack.pop()
            node = None if value is None else value.producer()
            if operand is None or node is None or node in seen or node.graph is not operand.graph:
                continue
            if node.op_type not in _STOPS:
                seen.add(node)
                found[node] = None
                stack += reversed(node.inputs) if node.op_type not in _PRODUCTS else ()
    return list(found)


def scaling_of(node: ir.Node, value: ir.Value) -> float | None:
    """The constant c, where `node` computes ``value * c`` in the shape of `value`."""
    other = other_input(node, value)
    number = scalar(other)
    if number is None or other is None or not keeps_rank(other, value):
        return None
    if node.op_type == "Mul":
        return number
    if node.op_type == "Div" and node.inputs[0] is value and number != 0:
        return 1.0 / number
    return None


def _path_to_scores(value: ir.Value | None, steps: int) -> tuple[ir.Node, tuple[ir.Node, ...]] | None:
    node = None if value is None else value.producer()
    if value is None or node is None or node.domain != "" or steps == 0 or not read_once(value):
        return None
    if node.op_type == "MatMul":
        computed = not any(is_constant(operand) for operand in node.inputs)
        return (node, ()) if computed else None
    for candidate in node.inputs[1:] if node.op_type == "Where" else node.inputs:
        scales = node.op_type in ("Mul", "Div") and candidate is not None and scaling_of(node, candidate) is not None
        found = _path_to_scores(candidate, steps - 1) if scales or node.op_type in ("Add", "Where") else None
        if found is not None:
            return found[0], (*found[1], node)
    return None


_WEIGHTS = Var("weights")
_GUARD = Op("Where", Op("IsNaN", _WEIGHTS), Num(0.0), _WEIGHTS)


def _nan_guard(softmax: ir.Node) -> tuple[ir.Node, ir.Node] | None:
    """``Where(IsNaN(p), 0, p)`` where nothing else reads p."""
    weights = softmax.outputs[0]
    for choice, index in weights.uses() if reads(weights) == 2 and not weights.is_graph_output() else ():
        if index != 2 or choice.graph is not softmax.graph:
            continue
        for match in _GUARD.find(choice.outputs[0], Match()):
            if match.values["weights"] is weights and read_once(match.named["IsNaN"].outputs[0]):
                return match.named["IsNaN"], choice
    return None
