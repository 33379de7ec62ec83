"""Shape inference of what was edited and what follows from it: of a large graph, a fraction.

Inference looks at a node's inputs: their types and shapes, and the content of small integer vectors, which are constant
or computed from sizes. Where none of these has changed, it says what it said before. So a model of the edited nodes is
inferred, with the nodes that compute their shape tensors, then of the nodes that read what has become known, and so on.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator

import onnx
import onnx_ir as ir

from pytest_modelcheck.graph.constants import constant_tensor
from pytest_modelcheck.graph.kernel_sizes import inferred_with_kernel_sizes
from pytest_modelcheck.graph.plain_proto import write_node, write_tensor, write_value
from pytest_modelcheck.graph.scopes import subgraphs
from pytest_modelcheck.graph.shape_inference import SMALL_TENSOR_BYTES, merge_node

_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)
_MOST = 0.5
_MOST_ROUNDS = 16
"""Where more than this part of the nodes is concerned, or in more rounds, all of them are inferred."""

_runs = itertools.count()


def infer_edited(model: ir.Model, edited: Iterable[ir.Node], changed: list[ir.Value]) -> bool:
    """Fill in types and shapes that follow from edits of a model whose other values were inferred before.

    Args:
        model: Edited in place.
        edited: Nodes that are new, or read other values, constants or attributes than before.
        changed: The values of which more, or something else, is known now, are added to it.

    Returns:
        Whether that is all; False where the whole model is to be inferred.
    """
    order = {node: index for index, node in enumerate(model.graph)}
    left = _MOST * len(order)
    pending = _followed(node for node in edited if node.graph is not None)
    for _ in range(_MOST_ROUNDS):
        around = _sources(pending)
        left -= len(around)
        if model.functions or left < 0 or not all(map(order.__contains__, around)):
            return False
        nodes = sorted(around, key=order.__getitem__)
        if any(True for node in nodes for _ in subgraphs(node)):
            return False
        try:
            known = _infer(model, nodes, pending) if pending else []
        except (onnx.shape_inference.InferenceError, ValueError, TypeError, AttributeError):
            return False
        if not known:
            return True
        changed += known
        pending = _followed(use.node for value in known for use in value.uses() if use.node not in pending)
    return False


def _followed(nodes: Iterable[ir.Node]) -> dict[ir.Node, None]:
    """`nodes`, and those that read a shape tensor that one of them computes: its content may be known now."""
    found = dict.fromkeys(nodes)
    pending = list(found)
    while pending:
        for output in pending.pop().outputs:
            if is_shape_tensor(output):
                readers = [use.node for use in output.uses() if use.node not in found]
                found.update(dict.fromkeys(readers))
                pending += readers
    return found


def _sources(nodes: Collection[ir.Node]) -> dict[ir.Node, None]:
    """`nodes`, and those before them that inference needs to see: constants, shape tensors, outputs of the graph.

    What is declared of an output is the exporter's example as often as a fact.
    """
    found = dict.fromkeys(nodes)
    pending = list(found)
    while pending:
        for value in pending.pop().inputs:
            producer = None if value is None else value.producer()
            if producer is None or value is None or producer in found:
                continue
            if _is_small_constant(value) or is_shape_tensor(value) or value.is_graph_output():
                found[producer] = None
                pending.append(producer)
    return found


def _is_small_constant(value: ir.Value) -> bool:
    tensor = constant_tensor(value)
    return tensor is not None and tensor.nbytes <= SMALL_TENSOR_BYTES


def is_shape_tensor(value: ir.Value) -> bool:
    """Whether inference follows the content of `value`."""
    return value.dtype in _INTEGERS and (value.shape is None or len(value.shape) <= 1)


def _infer(model: ir.Model, nodes: Collection[ir.Node], concerned: Collection[ir.Node]) -> list[ir.Value]:
    proto, names = onnx.ModelProto(ir_version=model.ir_version), set[str]()
    for domain, version in model.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    made = {output for node in nodes for output in node.outputs}
    for value in dict.fromkeys(value for node in nodes for value in node.inputs if value is not None):
        if value in made:
            continue
        tensor = value.const_value
        if tensor is None:
            write_value(proto.graph.input.add(), value)
            names.update(_names(value))
        elif tensor.nbytes <= SMALL_TENSOR_BYTES:
            write_tensor(proto.graph.initializer.add(), value)
        else:
            info = onnx.helper.make_tensor_value_info(value.name or "", tensor.dtype, tensor.shape.numpy())
            proto.graph.input.append(info)
    for node in nodes:
        write_node(proto.graph.node.add(), node)
        for value in node.outputs:
            if value.name and value.type is not None and not value.is_graph_output():
                write_value(proto.graph.value_info.add(), value)
                names.update(_names(value))
    inferred = {info.name: info for info in inferred_with_kernel_sizes(proto).graph.value_info}
    run = next(_runs)
    changed = [value for node in concerned for value in merge_node(node, inferred)]
    for value in changed:
        _keep_apart(value, names, run)
    return changed


def _names(value: ir.Value) -> Iterator[str]:
    return (dim.value for dim in value.shape or () if isinstance(dim, ir.SymbolicDim) and dim.value is not None)


def _keep_apart(value: ir.Value, known: set[str], run: int) -> None:
    """Each inference numbers the unknown sizes from 0: without this, two of them with one name would count as equal."""
    if value.shape is None or known.issuperset(_names(value)):
        return
    dims = [
        f"unk__{run}_{dim.value.removeprefix('unk__')}"
        if isinstance(dim, ir.SymbolicDim) and dim.value is not None and dim.value not in known
        else dim
        for dim in value.shape
    ]
    value.shape = ir.Shape(dims)
