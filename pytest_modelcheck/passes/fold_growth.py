"""By how much folding makes a file larger, and how much it may."""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.constants import constant_tensor
from pytest_modelcheck.graph.readers import read_outside
from pytest_modelcheck.graph.scopes import graphs
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.shapes.exact import Array

NODE_BYTES = 128
"""What a node takes in a file, about: names, operator, attributes."""

SPENT_KEY = "modelcheck.fold_growth_bytes"
"""Metadata of the model: by how many bytes folding has made it larger so far."""

MIN_BUDGET = 64 * 1024

_GROWTH = 0.02


def freed_bytes(node: ir.Node) -> int:
    """Bytes of the constants, and of the nodes, that nothing reads any more once `node` is gone."""
    dying, freed, stack = {node}, NODE_BYTES, [node]
    while stack:
        for value in dict.fromkeys(stack.pop().inputs):
            producer = None if value is None else value.producer()
            if value is None or producer in dying:
                continue
            made = [value] if producer is None else producer.outputs
            if any(output.is_graph_output() or read_outside(output, dying) for output in made):
                continue
            if (tensor := constant_tensor(value)) is not None:
                freed += tensor_bytes(tensor)
            if producer is not None:
                dying.add(producer)
                stack.append(producer)
                freed += NODE_BYTES
    return freed


def default_budget(rewriter: Rewriter, spent: int) -> int:
    """How much folding may add: 2 % of the bytes of all constants that it did not add, or 64 KiB where that is more."""
    constants = [value.const_value for graph in graphs(rewriter.model) for value in graph.initializers.values()]
    total = sum(tensor_bytes(tensor) for tensor in constants if tensor is not None)
    return max(MIN_BUDGET, int((total - spent) * _GROWTH))


def tensor_bytes(tensor: ir.TensorProtocol) -> int:
    return array_bytes(tensor.numpy()) if tensor.dtype == ir.DataType.STRING else tensor.nbytes


def array_bytes(array: Array) -> int:
    return sum(map(len, array.reshape(-1))) if array.dtype == object else array.nbytes
