"""The Reshape and Transpose work around one attention, composed into the shortest chain that does the same.

1. Backwards from q, k and v, and forwards from the context, the longest chain of Reshape, Transpose, Unsqueeze and
   Squeeze nodes that nothing else reads is replaced by the shortest equivalent one (`layouts`), where that is shorter.

dynamo's exports of scaled_dot_product_attention write k as Reshape-Transpose-Reshape-Transpose-Reshape where
Reshape-Transpose does it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integers_attribute
from pytest_modelcheck.graph.readers import read_once
from pytest_modelcheck.passes.attention.layouts import Layout, Step, shortest_chain
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import only_reader, produced_by, scope_of
from pytest_modelcheck.shapes.dims import Dim
from pytest_modelcheck.shapes.reshape_target import reshape_target

_LAYOUT = ("Reshape", "Transpose", "Unsqueeze", "Squeeze")


def chain_before(value: ir.Value | None) -> list[ir.Node]:
    """The layout nodes that end in `value`, first one first, each read by the next alone."""
    chain: list[ir.Node] = []
    while value is not None and read_once(value) and (node := produced_by(value, *_LAYOUT)) is not None:
        if chain and only_reader(value) is not chain[0]:
            break
        chain.insert(0, node)
        value = node.inputs[0]
    return chain


def chain_after(value: ir.Value) -> list[ir.Node]:
    """The layout nodes that begin at `value`, each read by the next alone; the last one's output may be anything."""
    chain: list[ir.Node] = []
    while (node := only_reader(value, *_LAYOUT)) is not None and node.inputs[0] is value:
        chain.append(node)
        value = node.outputs[0]
    return chain


def try_shorten(rewriter: Rewriter, chain: Sequence[ir.Node]) -> bool:
    """Replace `chain` by a shorter one, where there is one; a refusal is recorded where its shape is not constant."""
    if not chain:
        return False
    source, result = chain[0].inputs[0], chain[-1].outputs[0]
    start, final = rewriter.known.shape(source), rewriter.known.shape(result)
    if source is None or start is None or final is None:
        return rewriter.refuse("the shape of a reshaped operand is not known", chain[0])
    layout = Layout(start)
    for node in chain:
        if node.op_type == "Transpose":
            order = integers_attribute(node, "perm", tuple(reversed(range(len(layout.axes)))))
            if order is None:
                return rewriter.refuse("the order of axes of a Transpose is set by the caller of the function", node)
            layout.transpose(order)
            continue
        shape = rewriter.known.shape(node.outputs[0])
        if shape is None or not layout.reshape(shape):
            if len(chain) > 2:
                return rewriter.refuse("how a Reshape regroups the axes is not provable", node)
            return False
    steps = shortest_chain(layout, final)
    if len(steps) >= len(chain):
        return False
    made = _nodes(rewriter, source, start, steps, chain)
    if made is None:
        return rewriter.refuse("the composed Reshape would need a shape that is computed", chain[0])
    return rewriter.replace(list(chain), made, {result: made[-1].outputs[0] if made else source})


def _nodes(
    rewriter: Rewriter, source: ir.Value, start: Sequence[Dim], steps: Sequence[Step], chain: Sequence[ir.Node]
) -> list[ir.Node] | None:
    """`steps` as nodes; None where a Reshape target is not a constant and not the chain's own last one."""
    last, own = chain[-1], None
    if last.op_type == "Reshape" and _is_absolute(rewriter, last):
        own = last.inputs[1]
    targets: list[tuple[int, ...] | ir.Value | None] = []
    for step, before in zip(steps, [start, *(step.shape for step in steps)], strict=False):
        target = reshape_target(before, step.shape) if step.op_type == "Reshape" else ()
        targets.append(own if target is None and step is steps[-1] else target)
    if None in targets:
        return None
    made: list[ir.Node] = []
    for step, found in zip(steps, targets, strict=True):
        like, current = last.outputs[0] if step is steps[-1] else None, made[-1].outputs[0] if made else source
        if step.op_type == "Transpose":
            node = rewriter.node("Transpose", [current], {"perm": list(step.perm)}, like=like, dtype=source.dtype)
        else:
            shape = rewriter.integers(scope_of(last), found, "shape") if isinstance(found, tuple) else found
            node = rewriter.node("Reshape", [current, shape], like=like, dtype=source.dtype)
        made.append(node)
    return made


def _is_absolute(rewriter: Rewriter, reshape: ir.Node) -> bool:
    """Whether the target of `reshape` does not copy dimensions of its input."""
    constant = rewriter.constant(reshape.inputs[1])
    return constant is not None and not np.any(constant == 0)
