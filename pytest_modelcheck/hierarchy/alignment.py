"""Owners deduced from the order of execution: the ONNX nodes laid beside the operators of one torch forward pass.

Exporters write nodes in the order in which the forward ran. So the best matching of the two sequences that keeps their
order, and that agrees with every owner already known, tells which torch operator a node came from - and with it the
module that ran it. One torch operator may become several nodes (`EXPANSIONS`); operators that left no node, and nodes
that fit no operator, are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

MAX_CELLS = 100_000_000
"""Nodes x operators above which no matching is tried (about 1 GB of working memory)."""

_SHAPES = "Shape Gather Unsqueeze Concat Slice Cast Mul Div Add Squeeze"
_ATTENTION = (
    "MatMul Attention Softmax | Mul Add Transpose Reshape Where IsNaN Sqrt Div Cast Not And Expand Trilu Sub "
    "ConstantOfShape Constant Less Range GreaterOrEqual"
)
EXPANSIONS: Mapping[str, str] = {
    "linear": "MatMul Gemm | Add Transpose Mul Identity",
    "matmul": "MatMul Gemm | Transpose",
    "scaled_dot_product_attention": _ATTENTION,
    "addmm": "Gemm MatMul | Add Transpose Mul",
    "mm": "MatMul Gemm | Transpose",
    "bmm": "MatMul | Transpose",
    "baddbmm": "MatMul | Add Mul",
    "t": "Transpose",
    "transpose": "Transpose",
    "permute": "Transpose",
    "view": f"Reshape Flatten | {_SHAPES}",
    "_unsafe_view": f"Reshape Flatten | {_SHAPES}",
    "_reshape_alias": f"Reshape | {_SHAPES}",
    "expand": f"Expand | Where Equal ConstantOfShape Reshape {_SHAPES}",
    "native_layer_norm": "LayerNormalization ReduceMean | Sub Pow Add Sqrt Div Mul Cast Reciprocal",
    "_fused_rms_norm": "RMSNormalization ReduceMean | Pow Add Sqrt Reciprocal Mul Div Cast",
    "native_group_norm": "GroupNormalization InstanceNormalization | Reshape Mul Add Shape",
    "native_batch_norm": "BatchNormalization | Mul Add Sub Div Sqrt",
    "_native_batch_norm_legit_no_training": "BatchNormalization | Mul Add Sub Div Sqrt",
    "cudnn_batch_norm": "BatchNormalization",
    "gelu": "Gelu Erf Tanh | Div Add Mul Pow",
    "silu": "Sigmoid Swish | Mul",
    "silu_": "Sigmoid Swish | Mul",
    "hardswish": "HardSwish HardSigmoid | Mul Add Clip Div",
    "hardswish_": "HardSwish HardSigmoid | Mul Add Clip Div",
    "hardtanh": "Clip",
    "hardtanh_": "Clip",
    "_softmax": "Softmax",
    "_safe_softmax": "Softmax | IsNaN Where",
    "_scaled_dot_product_flash_attention_for_cpu": _ATTENTION,
    "_scaled_dot_product_attention_math": _ATTENTION,
    "_scaled_dot_product_efficient_attention": _ATTENTION,
    "convolution": "Conv ConvTranspose",
    "mkldnn_convolution": "Conv ConvTranspose",
    "max_pool2d_with_indices": "MaxPool",
    "mean": "ReduceMean GlobalAveragePool AveragePool",
    "_adaptive_avg_pool2d": "GlobalAveragePool AveragePool ReduceMean",
    "avg_pool2d": "AveragePool | Pad",
    "embedding": "Gather",
    "select": "Gather | Slice Squeeze",
    "index": f"Gather GatherND GatherElements | Reshape Flatten Transpose {_SHAPES}",
    "index_select": "Gather",
    "gather": "GatherElements",
    "slice": "Slice",
    "split": "Split Slice",
    "split_with_sizes": "Split Slice",
    "unbind": "Split | Squeeze Gather",
    "cat": "Concat",
    "stack": "Concat | Unsqueeze",
    "rsqrt": "Sqrt Reciprocal | Div",
    "pow": "Pow | Mul",
    "rsub": "Sub",
    "_to_copy": "Cast",
    "masked_fill": "Where | Cast Expand",
    "masked_fill_": "Where | Cast Expand",
    "where": "Where | Cast",
    "eq": "Equal",
    "ne": "Equal | Not",
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "bitwise_and": "And | BitwiseAnd",
    "bitwise_or": "Or | BitwiseOr",
    "bitwise_not": "Not | BitwiseNot",
    "logical_not": "Not",
    "logical_and": "And",
    "arange": "Range | Cast Sub Add",
    "cumsum": "CumSum",
    "sum": "ReduceSum",
    "amax": "ReduceMax",
    "amin": "ReduceMin",
    "new_ones": "ConstantOfShape | Expand",
    "full": "ConstantOfShape | Expand",
    "constant_pad_nd": "Pad",
    "upsample_nearest2d": "Resize",
    "upsample_bilinear2d": "Resize",
    "clamp": "Clip | Max Min",
    "repeat": "Tile | Expand",
}
"""ATen operator -> the ONNX operators it becomes: those that tell it, a bar, those that only go with them.

Operators that are not listed match by their name alone (relu, Relu).
"""

_MAIN, _PART, _PLACED = 2.0, 1.0, 0.2
_AGAIN_PART, _AGAIN_MAIN, _SKIPPED = 0.25, 1.5, -0.5  # a second main node is rather the next operator's


@dataclass(frozen=True, slots=True)
class TorchOp:
    """One operator of the forward pass: its ATen name, and the module that ran it."""

    name: str
    path: str


def align(nodes: Sequence[ir.Node], trace: Sequence[TorchOp], known: Mapping[ir.Node, str]) -> dict[ir.Node, str]:
    """The module of each node that finds its torch operator.

    Args:
        nodes: In the order of the graph.
        trace: In the order of execution.
        known: Node -> module path, where it is known already; the matching agrees with all of them.

    Returns:
        Node -> module path, for those of `nodes` that are not in `known` and match an operator.
    """
    if not nodes or not trace or len(nodes) * len(trace) > MAX_CELLS:
        return {}
    scores = _Scores(trace)
    best = np.zeros(len(trace) + 1)  # best[j]: nothing behind operator j - 1 is taken; best[0]: nothing is taken
    steps = np.zeros((len(nodes), len(trace) + 1), dtype=np.int32)
    for row, node in enumerate(nodes):
        best, steps[row] = _advance(best, scores.of(node, known.get(node)), node in known)
    return _supported(_read_back(nodes, trace, known, scores, best, steps), known)


def _advance(best: np.ndarray, score: np.ndarray, placed: bool) -> tuple[np.ndarray, np.ndarray]:
    """One more node: the best totals by the last operator taken, and where each came from (-1: the node is skipped)."""
    behind = np.maximum.accumulate(best)[:-1]
    origin = np.maximum.accumulate(np.where(best == np.maximum.accumulate(best), np.arange(len(best)), 0))[:-1]
    again = best[1:] - np.where(score >= _MAIN, _AGAIN_MAIN, _AGAIN_PART)
    take = score + np.maximum(behind, again)
    came_from = np.where(behind >= again, origin, np.arange(1, len(best)))
    skip = best + _SKIPPED * (4 if placed else 1)
    total = skip.copy()
    steps = np.full(len(best), -1, dtype=np.int32)
    better = take > skip[1:]
    total[1:][better] = take[better]
    steps[1:][better] = came_from[better]
    return total, steps


def _read_back(
    nodes: Sequence[ir.Node],
    trace: Sequence[TorchOp],
    known: Mapping[ir.Node, str],
    scores: _Scores,
    best: np.ndarray,
    steps: np.ndarray,
) -> dict[ir.Node, tuple[str, bool]]:
    """Node -> the module it is placed in, and whether its operator tells so by itself."""
    found: dict[ir.Node, tuple[str, bool]] = {}
    position = int(np.argmax(best))
    for row in range(len(nodes) - 1, -1, -1):
        step = int(steps[row, position])
        if step < 0:
            continue
        node = nodes[row]
        fit = scores.of(node, None)[position - 1]
        if node not in known and fit >= _PART:
            found[node] = (trace[position - 1].path, bool(fit >= _MAIN))
        position = step
    return found


def _supported(placed: Mapping[ir.Node, tuple[str, bool]], known: Mapping[ir.Node, str]) -> dict[ir.Node, str]:
    """`placed`, without nodes that only go with an operator where nothing connects them to a node that tells it.

    A Cast may be part of many operators. It is taken for a part of the one it was placed at if, through nodes of the
    same module, it is connected to one whose operator says so, or that is known to be the module's.
    """
    path_of = {node: path for node, (path, _) in placed.items()} | dict(known)
    reached = {node for node, (_, tells) in placed.items() if tells} | known.keys()
    stack = list(reached)
    while stack:
        node = stack.pop()
        for other in neighbours(node):
            if other not in reached and other in placed and path_of[other] == path_of[node]:
                reached.add(other)
                stack.append(other)
    return {node: path for node, (path, _) in placed.items() if node in reached}


def neighbours(node: ir.Node) -> list[ir.Node]:
    """The readers of a node's results and the producers of its inputs."""
    readers = [use.node for output in node.outputs for use in output.uses()]
    producers = [producer for value in node.inputs if value is not None and (producer := value.producer()) is not None]
    return [*readers, *producers]


class _Scores:
    """How well each operator of a trace explains a node."""

    def __init__(self, trace: Sequence[TorchOp]) -> None:
        self._names = np.array([op.name for op in trace])
        self._paths = np.array([op.path for op in trace])
        self._fits: dict[str, np.ndarray] = {}
        self._at: dict[str, np.ndarray] = {}

    def of(self, node: ir.Node, path: str | None) -> np.ndarray:
        """By operator: 2 for the main node of an expansion, 1 for a part, -inf for no fit or another module."""
        if node.op_type not in self._fits:
            by_name = {name: _fit(name, node.op_type) for name in set(self._names.tolist())}
            self._fits[node.op_type] = np.array([by_name[name] for name in self._names.tolist()])
        fit = self._fits[node.op_type]
        if path is None:
            return fit
        if path not in self._at:
            self._at[path] = self._paths == path
        return np.where(self._at[path], np.maximum(fit, _PLACED), -np.inf)


def _fit(aten: str, op_type: str) -> float:
    if aten in EXPANSIONS:
        main, _, parts = EXPANSIONS[aten].partition("|")
        return _MAIN if op_type in main.split() else _PART if op_type in parts.split() else -np.inf
    return _MAIN if aten.strip("_").replace("_", "") == op_type.lower() else -np.inf
