"""Tools to plant a fault into an ONNX graph: finding nodes, changing weights, inserting and leaving out nodes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

Plant = Callable[[ir.Model], ir.Node | None]
"""Changes a graph in place; returns the node that is then to blame, or None where the graph has no place for it."""


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    Attributes:
        name: What it is.
        plant: See `Plant`.
        kind: ``"weight"``, ``"node"``: the table of the documentation groups by it.
    """

    name: str
    plant: Plant
    kind: str


class FaultPass(ir.passes.InPlacePass):
    """A fault as a pass of the pipeline, so that `find_guilty_pass` can be asked for it."""

    def __init__(self, fault: Fault) -> None:
        self.name = fault.name
        self.fault = fault

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, self.fault.plant(model) is not None)


def nodes(model, *ops):
    return [node for node in model.graph if node.op_type in ops]


def weight_index(node, ndim=2):
    """Which input of the node is a float weight of at least `ndim` axes and 16 elements; None where there is none."""
    for index, value in enumerate(node.inputs):
        if value is not None and value.is_initializer() and value.const_value is not None:
            tensor = value.const_value
            if tensor.dtype.is_floating_point() and len(tensor.shape) >= ndim and tensor.size >= 16:
                return index
    return None


def weighted(model, *ops, ndim=2):
    """Nodes of these operators with a weight, in order."""
    return [node for node in nodes(model, *ops) if weight_index(node, ndim) is not None]


def array_of(value):
    return value.const_value.numpy()


def set_input(model, node, index, array):
    """Give the node another constant: under the same name where nothing else reads it, else under a new one."""
    value = node.inputs[index]
    if len(value.uses()) == 1:
        value.const_value = ir.tensor(np.ascontiguousarray(array), name=value.name)
        return
    name = f"{value.name}_changed"
    other = ir.Value(
        name=name, const_value=ir.tensor(np.ascontiguousarray(array), name=name), type=value.type, shape=value.shape
    )
    model.graph.initializers[name] = other
    node.replace_input_with(index, other)


def place(found, at):
    """The node at this share of the list."""
    return found[min(len(found) - 1, int(at * len(found)))] if found else None


LINEAR = ("MatMul", "Gemm", "Conv")


def on_weight(edit, *ops, at=0.5, ndim=2, needs=lambda array: True):
    """A fault in the weight of one such node; `edit` takes a copy of the array and returns the new one."""

    def plant(model):
        found = weighted(model, *(ops or LINEAR), ndim=ndim)
        found = [node for node in found if needs(array_of(node.inputs[weight_index(node, ndim)]))]
        node = place(found, at)
        if node is None:
            return None
        index = weight_index(node, ndim)
        set_input(model, node, index, edit(array_of(node.inputs[index]).copy()))
        return node

    return plant


def on_input(edit, op, index, at=0.5):
    """The same for one input of a node, by its number: the scale or the bias of a normalization."""

    def plant(model):
        found = [
            node
            for node in nodes(model, op)
            if len(node.inputs) > index
            and node.inputs[index] is not None
            and node.inputs[index].is_initializer()
            and array_of(node.inputs[index]).dtype == np.float32
        ]
        node = place(found, at)
        if node is None:
            return None
        set_input(model, node, index, edit(array_of(node.inputs[index]).copy()))
        return node

    return plant


def on_bias(edit, at=0.5):
    """A fault in a bias: the vector of an Add behind a MatMul, or the third input of a Gemm or Conv."""

    def plant(model):
        found = [(node, 2) for node in nodes(model, "Gemm", "Conv") if len(node.inputs) > 2]
        for node in nodes(model, "Add"):
            for index, value in enumerate(node.inputs):
                vector = value.is_initializer() and len(value.shape) == 1 and value.const_value.size >= 16
                if vector and node.inputs[1 - index].producer() is not None:
                    found.append((node, index))
        found = [
            (node, i) for node, i in found if node.inputs[i].is_initializer() and array_of(node.inputs[i]).size >= 16
        ]
        if not found:
            return None
        node, index = place(found, at)
        set_input(model, node, index, edit(array_of(node.inputs[index]).copy()))
        return node

    return plant


def on_node(edit, *ops, at=0.5, needs=lambda node: True):
    """A fault in one such node; `edit` may return another node to blame."""

    def plant(model):
        node = place([node for node in nodes(model, *ops) if needs(node)], at)
        if node is None:
            return None
        blamed = edit(model, node)
        return node if blamed is None else blamed

    return plant


def element(where, change):
    """Change one element: `where` 0..1 of the flattened array."""

    def edit(array):
        flat = array.reshape(-1)
        index = int(where * (flat.size - 1))
        flat[index] = change(flat[index])
        return array

    return edit


def attribute(**values):
    def edit(model, node):
        for name, value in values.items():
            node.attributes[name] = ir.convenience.convert_attribute(name, value)

    return edit


def rename(op_type, **attributes):
    def edit(model, node):
        node.op_type = op_type
        node.attributes.clear()
        attribute(**attributes)(model, node)

    return edit


def bypass(index=0):
    """The node's readers read its input instead; the first reader is to blame."""

    def edit(model, node):
        out, source = node.outputs[0], node.inputs[index]
        if out.is_graph_output() or not out.uses():
            return node
        reader = out.uses()[0].node
        out.replace_all_uses_with(source)
        return reader

    return edit


def insert(op_type, *extra, before=(), **attributes):
    """Put a node behind this one: its readers read the new node. `extra` are further inputs, as arrays."""

    def edit(model, node):
        out = node.outputs[0]
        chain, value = [], out
        for step, (op, arrays, given) in enumerate([*before, (op_type, extra, attributes)]):
            inputs = [value]
            for number, array in enumerate(arrays):
                name = f"fault_{step}_{number}"
                constant = ir.Value(name=name, const_value=ir.tensor(np.asarray(array), name=name))
                constant.type = ir.TensorType(constant.const_value.dtype)
                constant.shape = ir.Shape(np.asarray(array).shape)
                model.graph.initializers[name] = constant
                inputs.append(constant)
            made = ir.node(op, inputs, attributes=given, name=f"fault_{op}_{step}")
            made.outputs[0].name = f"fault_value_{step}"
            value = made.outputs[0]
            chain.append(made)
        value.type, value.shape = out.type, out.shape
        readers = [use for use in out.uses() if use.node not in chain]
        for use in readers:
            use.node.replace_input_with(use.idx, value)
        model.graph.insert_after(node, chain)
        return chain[-1]

    return edit


def swap_inputs(model, node):
    first, second = node.inputs[0], node.inputs[1]
    node.replace_input_with(0, second)
    node.replace_input_with(1, first)


def siblings(model, first, second):
    """Two projections of one input, such as query (0) and key (1), exchanged: each gets the other's weight."""

    def plant(model):
        groups = {}
        for node in weighted(model, "MatMul", "Gemm", "Conv"):
            index = weight_index(node)
            key = (node.inputs[0], tuple(node.inputs[index].shape))
            groups.setdefault(key, []).append((node, index))
        groups = [group for group in groups.values() if len(group) > max(first, second)]
        if not groups:
            return None
        (a, i), (b, j) = (groups[len(groups) // 2][number] for number in (first, second))
        left, right = a.inputs[i], b.inputs[j]
        a.replace_input_with(i, right)
        b.replace_input_with(j, left)
        return a

    return plant(model)


def mask_adds(model):
    """Nodes that add a mask to the scores, right before a Softmax."""
    found = (node.inputs[0].producer() for node in nodes(model, "Softmax"))
    return [node for node in found if node is not None and node.op_type == "Add"]


def on_mask(edit, at=0.5):
    def plant(model):
        node = place(mask_adds(model), at)
        if node is None:
            return None
        blamed = edit(model, node)
        return node if blamed is None else blamed

    return plant


def residual_adds(model):
    """Adds of two computed values that are no mask."""
    masks = mask_adds(model)
    return [
        node
        for node in nodes(model, "Add")
        if node not in masks
        and all(value.producer() is not None and value.type is not None for value in node.inputs)
        and all(value.dtype is not None and value.dtype.is_floating_point() for value in node.inputs)
        and all(value.shape is not None and len(value.shape) >= 3 for value in node.inputs)
    ]


def on_residual(edit, at=0.5):
    def plant(model):
        node = place(residual_adds(model), at)
        if node is None:
            return None
        blamed = edit(model, node)
        return node if blamed is None else blamed

    return plant
