"""``simplify_shape_chains``: replace computed shapes by constants, and two reshapes by one; dynamic axes too.

1. An integer tensor whose elements are all known (``Gather(Shape(x))`` of a static axis) becomes a constant.
2. A computed target of Reshape becomes a constant, with 0 where an axis keeps its size and at most one -1.
3. A Reshape, Expand, Slice ... whose output provably has its input's shape, and a Pad of nothing, disappear.
4. ``Reshape(Reshape(x))``, and any two of Reshape, Flatten, Squeeze, Unsqueeze and a Transpose that moves only axes of
   one element, become one Reshape, or nothing; where several reshapes read one, all of them or none.
5. Two shape computations that give the same elements become one; a Shape that alone reads what has the shape of its
   own input reads that input.
6. An Expand disappears where all its readers broadcast, and their outputs have the same shape without it.
7. What depends on constants only once these are made is computed, as by ``fold_constants``; then all rules once more.

"Provably" means that two polynomials over named dimensions are equal (dims.py). A dimension of the model's inputs is
taken to be at least 1; any other may be 0, and a Reshape with both 0 and -1 is not defined for empty tensors.
Source: https://onnx.ai/onnx/operators/onnx__Reshape.html
"""

from __future__ import annotations

from collections.abc import Set

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.graph.constants import is_constant
from pytest_modelcheck.graph.readers import read_once
from pytest_modelcheck.passes.fold_constants import fold
from pytest_modelcheck.passes.known_results import OF_SHAPES
from pytest_modelcheck.rewriting import Pass, Rewriter
from pytest_modelcheck.rewriting.matching import permutation, scope_of
from pytest_modelcheck.shapes.broadcast import broadcast
from pytest_modelcheck.shapes.dims import is_nonnegative
from pytest_modelcheck.shapes.operator_kinds import BROADCASTING
from pytest_modelcheck.shapes.reshape_target import copying_target, reshape_target
from pytest_modelcheck.shapes.slices import keeps_everything
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes

_FIRST_OPSET = 5  # before it, the target of Reshape was an attribute
_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_MAX_ROUNDS = 4
_SAME_IF_SHAPE_IS = (*_RESHAPES, "Expand")


class SimplifyShapeChains(Pass):
    name = "simplify_shape_chains"
    rules = ("constant", "target", "remove", "merge", "reuse", "earlier", "expand", "fold")

    def rewrite(self, rewriter: Rewriter) -> None:
        simplify(rewriter)


def simplify(rewriter: Rewriter, *, beside: Set[ir.Node] | None = None) -> None:
    """All rules, until none has anything to do.

    Args:
        rewriter: Of the pass on whose behalf this is done.
        beside: Only at these nodes, at nodes that read from them, and for shapes that one of them computes as well.
    """
    if rewriter.opset() < _FIRST_OPSET:
        return
    for _ in range(_MAX_ROUNDS):
        made: list[ir.Value] = []
        before = rewriter.rewrites
        _sweep(rewriter, made, beside)
        refusals = list(rewriter.refusals)
        rewriter.begin_rule("fold")
        fold(rewriter, nodes={use.node for value in made for use in value.uses()})
        rewriter.refusals[:] = refusals  # what cannot be folded was no chain of shapes
        if rewriter.rewrites == before:
            return


def _sweep(rewriter: Rewriter, made: list[ir.Value], beside: Set[ir.Node] | None) -> None:
    """All rules once, in graph order; constants that appear are added to `made`."""
    rewriter.known.refresh()
    computed: dict[tuple[object, ...], ir.Value] = {}
    for node in rewriter.nodes():
        if node.domain != "" or node.op_type == "Constant" or not node.inputs:
            continue
        if _try_reuse(rewriter, node, computed, beside):
            continue
        if beside is not None and not _is_beside(node, beside):
            continue
        if _try_make_constant(rewriter, node, made):
            continue
        _try_read_earlier(rewriter, node)
        if _try_remove(rewriter, node) or _try_merge(rewriter, node):
            continue
        _try_fix_target(rewriter, node)
    # Last: while its target is there, other computations of the same shape become that one.
    for node in rewriter.nodes("Expand"):
        if beside is None or _is_beside(node, beside):
            _try_drop_expand(rewriter, node)


def _is_beside(node: ir.Node, nodes: Set[ir.Node]) -> bool:
    return node in nodes or any(value is not None and value.producer() in nodes for value in node.inputs)


def _try_make_constant(rewriter: Rewriter, node: ir.Node, made: list[ir.Value]) -> bool:
    rewriter.begin_rule("constant")
    value = node.outputs[0]
    elements = rewriter.known.constant_content(value) if len(node.outputs) == 1 else None
    shape = None if elements is None else rewriter.known.shape(value)
    if elements is None or shape is None or len(shape) > 1 or value.dtype is None or node.graph is None:
        return False
    limits = np.iinfo(value.dtype.numpy()) if value.dtype != ir.DataType.BOOL else None
    if limits is not None and any(not limits.min <= element <= limits.max for element in elements):
        return rewriter.refuse("its elements do not fit the integer type", node)
    array = np.array(elements, dtype=value.dtype.numpy()).reshape([-1] if shape else [])
    nodes, constant = rewriter.constant_for(value, array)
    made.append(constant)
    return rewriter.replace([node], nodes, {value: constant})


def _try_read_earlier(rewriter: Rewriter, node: ir.Node) -> None:
    rewriter.begin_rule("earlier")
    while node.op_type in OF_SHAPES and (read := node.inputs[0]) is not None and read_once(read):
        producer, shape = read.producer(), rewriter.known.shape(read)
        sources = producer.inputs if producer and shape else ()
        same = [value for value in sources if rewriter.known.shape(value) == shape]
        if not same:
            return
        rewriter.set_input(node, 0, same[0])
        rewriter.edited()


def _try_reuse(
    rewriter: Rewriter,
    node: ir.Node,
    computed: dict[tuple[object, ...], ir.Value],
    beside: Set[ir.Node] | None,
) -> bool:
    rewriter.begin_rule("reuse")
    value = node.outputs[0]
    elements = rewriter.known.content(value) if len(node.outputs) == 1 else None
    shape = rewriter.known.shape(value) if elements else None
    if elements is None or shape is None:
        return False
    key = (id(node.graph), value.dtype, len(shape), elements)
    earlier = computed.setdefault(key, value)
    producer = earlier.producer()
    if producer is None or producer.graph is None:  # it was removed meanwhile
        earlier = computed[key] = value
    if earlier is value or (beside is not None and beside.isdisjoint((node, producer))):
        return False
    if value.is_graph_output():
        return rewriter.refuse("the second computation of a shape is a graph output", node)
    return rewriter.replace([node], [], {value: earlier})


def _try_remove(rewriter: Rewriter, node: ir.Node) -> bool:
    """Rule 3, also through a chain of reshapes: back to the first value that has the same shape."""
    rewriter.begin_rule("remove")
    source, same, shape = node.inputs[0], None, rewriter.known.shape(node.outputs[0])
    if node.op_type in ("Slice", "Pad"):
        if source is None or not keeps_everything(node, rewriter.known):
            return False
        return rewriter.replace([node], [], {node.outputs[0]: source})
    if node.op_type not in _SAME_IF_SHAPE_IS:
        return False
    while shape is not None and source is not None:
        if rewriter.known.shape(source) == shape and all(map(is_nonnegative, shape)):
            same = source
        producer = source.producer()
        if producer is None or node.op_type == "Expand" or not _is_reshape(rewriter.known, producer):
            break
        source = producer.inputs[0]
    if same is None or not rewriter.can_replace_value(node.outputs[0], same):
        return False if same is None else rewriter.refuse("a graph output would lose its name", node)
    return rewriter.replace([node], [], {node.outputs[0]: same})


def _try_merge(rewriter: Rewriter, node: ir.Node) -> bool:
    """Rule 4: this reshape reads the output of another reshape that nothing else reads."""
    rewriter.begin_rule("merge")
    source = node.inputs[0]
    inner = None if source is None else source.producer()
    if inner is None or source is None or inner.graph is not node.graph or source.is_graph_output():
        return False
    if not all(_is_reshape(rewriter.known, step) for step in (node, inner)):
        return False
    if not all(
        index == 0 and user.graph is node.graph and _is_reshape(rewriter.known, user) for user, index in source.uses()
    ):
        return False
    origin, output = inner.inputs[0], node.outputs[0]
    if origin is None or rewriter.known.shape(output) is None:
        return rewriter.refuse("the rank after two reshapes is not known", node)
    targets = {user: _target_from(rewriter.known, origin, user) for user, _ in source.uses()}
    if (target := targets[node]) is None:
        return rewriter.refuse(
            "more than one axis after two reshapes has no size that is known to be its input's", node
        )
    if None in targets.values():
        return False
    merged = rewriter.node("Reshape", [origin, rewriter.integers(scope_of(node), target, "shape")], like=output)
    return rewriter.replace([inner, node], [merged], {output: merged.outputs[0]})


def _is_reshape(known: SymbolicShapes, node: ir.Node) -> bool:
    """Whether `node` keeps all elements in their order."""
    if node.domain == "" and node.op_type in _RESHAPES:
        return True
    order = permutation(node)
    shape = None if order is None else known.shape(node.inputs[0])
    if order is None or shape is None or sorted(order) != list(range(len(shape))):
        return False
    moved = [axis for axis in order if shape[axis] != 1]
    return moved == sorted(moved)


def _target_from(known: SymbolicShapes, origin: ir.Value, node: ir.Node) -> tuple[int, ...] | None:
    """The constant target with which Reshape makes the output of the reshape `node` of `origin`."""
    target = reshape_target(known.shape(origin), known.shape(node.outputs[0]))
    if target is not None or node.op_type != "Reshape" or integer_attribute(node, "allowzero", 0) != 0:
        return target
    static = known.constant_content(node.inputs[1]) or (0,)
    return None if 0 in static else static


def _try_drop_expand(rewriter: Rewriter, node: ir.Node) -> bool:
    """Rule 6."""
    rewriter.begin_rule("expand")
    source, output = node.inputs[0], node.outputs[0]
    if node.op_type != "Expand" or source is None or output.is_graph_output() or not output.uses():
        return False
    for user, _ in output.uses():
        if user.domain != "" or user.op_type not in BROADCASTING or len(user.outputs) != 1:
            return False
        operands = [source if value is output else value for value in user.inputs]
        shape = rewriter.known.shape(user.outputs[0])
        if shape is None or any(value is None for value in operands):
            return False
        if tuple(broadcast([rewriter.known.shape(value) for value in operands]) or ()) != shape:
            return rewriter.refuse("without the Expand, what reads it would have another shape", node)
    return rewriter.replace([node], [], {output: source})


def _try_fix_target(rewriter: Rewriter, node: ir.Node) -> bool:
    """Rule 2."""
    rewriter.begin_rule("target")
    if node.op_type != "Reshape" or len(node.inputs) < 2 or is_constant(node.inputs[1]):
        return False
    if integer_attribute(node, "allowzero", 0) != 0:
        return rewriter.refuse("allowzero is set and the target is not constant", node)
    elements = rewriter.known.content(node.inputs[1])
    if elements is None:
        return rewriter.refuse("the number of elements of the Reshape target is not known", node)
    source = rewriter.known.shape(node.inputs[0])
    target = reshape_target(source, rewriter.known.shape(node.outputs[0])) or copying_target(source, elements)
    if target is None:
        return rewriter.refuse("more than one element of the Reshape target is not known", node)
    rewriter.set_input(node, 1, rewriter.integers(scope_of(node), target, "shape"))
    rewriter.edited()
    return True
