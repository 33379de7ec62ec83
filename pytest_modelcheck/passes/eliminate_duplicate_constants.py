"""``eliminate_duplicate_constants``: keep one of several constants with the same content.

1. Two constants are the same if dtype, shape and bytes are (so 0.0 and -0.0 differ, and a NaN equals itself).
2. Constant nodes and initializers are compared with each other; the initializer is kept, else the first.
3. A constant of an outer scope stands for one of a subgraph, never the other way round; functions see only their own.
4. A constant that is a graph output keeps its node; an initializer that is a graph input may be overridden: not one.
5. A matrix that equals the transpose of another (an embedding, and the head stored beside it) is read through
   a Transpose, where all its readers are products of matrices, whose Gemm takes that as transA or transB, and folding
   would not write it out again.

Linear in the bytes of the weights: contents are compared only where dtype, shape and a sample of the bytes agree.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.compare import same_tensor
from pytest_modelcheck.graph.constants import constant_tensor
from pytest_modelcheck.graph.scopes import subgraphs
from pytest_modelcheck.passes.fold_growth import MIN_BUDGET, default_budget
from pytest_modelcheck.rewriting import Pass, Rewriter, Scope
from pytest_modelcheck.rewriting.matching import GEMM_TYPES

_SAMPLED_ELEMENTS = 16


class EliminateDuplicateConstants(Pass):
    name = "eliminate_duplicate_constants"

    def rewrite(self, rewriter: Rewriter) -> None:
        roots: list[Scope] = [rewriter.model.graph, *rewriter.model.functions.values()]
        for root in roots:
            _visit(rewriter, root, _Seen())


@dataclass
class _Seen:
    """The constants that a scope can read, by fingerprint; `outer` is the scope around it."""

    outer: _Seen | None = None
    by_key: dict[Hashable, list[ir.Value]] = field(default_factory=dict)

    def find(self, key: Hashable, tensor: ir.TensorProtocol) -> ir.Value | None:
        if self.outer is not None and (found := self.outer.find(key, tensor)) is not None:
            return found
        return next((v for v in self.by_key.get(key, ()) if same_tensor(constant_tensor(v), tensor)), None)


def _visit(rewriter: Rewriter, scope: Scope, seen: _Seen) -> None:
    values = [] if isinstance(scope, ir.Function) else list(scope.initializers.values())
    nodes = tuple(scope)
    values += [node.outputs[0] for node in nodes if node.op_type == "Constant" and node.domain == ""]
    for value in values:
        if rewriter.exhausted:
            return
        _try_merge(rewriter, value, seen)
    for node in nodes:
        for graph in subgraphs(node):
            _visit(rewriter, graph, _Seen(outer=seen))


def _try_merge(rewriter: Rewriter, value: ir.Value, seen: _Seen) -> None:
    tensor = constant_tensor(value)
    if tensor is None:
        return
    key = _fingerprint(tensor)
    kept = seen.find(key, tensor)
    if kept is None and _try_share_transposed(rewriter, value, tensor, seen):
        return
    if kept is None:
        seen.by_key.setdefault(key, []).append(value)
    elif (node := value.producer()) is not None:
        rewriter.replace([node], [], {value: kept})
    elif not value.is_graph_output():
        rewriter.replace_value(value, kept)
    else:
        rewriter.refuse_value("it is a graph output", value)


def _try_share_transposed(rewriter: Rewriter, value: ir.Value, tensor: ir.TensorProtocol, seen: _Seen) -> bool:
    """Rule 5; either of the two matrices may be the one that goes."""
    if tensor.dtype not in GEMM_TYPES or len(tensor.shape) != 2 or tensor.nbytes <= MIN_BUDGET:
        return False
    turned = ir.Tensor(tensor.numpy().T)
    other = seen.find(_fingerprint(turned), turned)
    if other is None or other.graph is not value.graph or tensor.nbytes <= default_budget(rewriter, 0):
        return False
    pairs = [(a, b) for a, b in ((value, other), (other, value)) if a.is_initializer() and not a.is_graph_output()]
    gone, kept = next(
        ((a, b) for a, b in pairs if all(_multiplies_matrices(node, index) for node, index in a.uses())), (None, None)
    )
    if gone is None or kept is None or gone.graph is None:
        return rewriter.refuse_value(
            "it is the transpose of another one, and not only products of matrices read it", value
        )
    node = rewriter.node("Transpose", [kept], {"perm": [1, 0]}, like=gone)
    rewriter.insert_first(gone.graph, node)
    return rewriter.replace_value(gone, node.outputs[0])


def _multiplies_matrices(node: ir.Node, index: int) -> bool:
    ranks = [None if value is None or value.shape is None else len(value.shape) for value in node.inputs[:2]]
    return node.domain == "" and node.op_type in ("Gemm", "MatMul") and index < 2 and ranks == [2, 2]


def _fingerprint(tensor: ir.TensorProtocol) -> Hashable:
    array = tensor.numpy()
    step = max(1, array.size // _SAMPLED_ELEMENTS)
    sample = array.flat[: 2 * _SAMPLED_ELEMENTS * step : step]  # a folded Transpose is a view: reshape would copy it
    content = tuple(sample) if sample.dtype == object else np.ascontiguousarray(sample).tobytes()
    return tensor.dtype, tuple(tensor.shape), content
