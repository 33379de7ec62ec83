"""Projections of one input by several weights become one product and a Split.

1. Of the projections that feed q, k and v of *one* attention, those of the same input ``x @ W_i [+ b_i]`` become
   ``Split(x @ [W_1 | W_2 ...] [+ [b_1 | b_2 ...]])``: all of them in self-attention, k and v in cross-attention.
   "Same input" alone would merge too much: every layer of a decoder projects the same encoder output.
2. Only where nodes are saved, the heads (`heads`) that can move behind the Split counted in. A projection without a
   bias beside ones that have it gets a bias of zeros.
3. Not where the Split would certainly copy more than `MAX_COPIED_BYTES` for each node saved: k and v of Whisper's 1500
   encoder states are refused (`keys` does better with them), its encoder's q, k and v are merged.

Source: the packed in_proj_weight of torch.nn.MultiheadAttention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import float_attribute, has_reference_attributes, integer_attribute
from pytest_modelcheck.graph.constants import constant_array, constant_tensor
from pytest_modelcheck.passes.attention.derived import DerivedConstants
from pytest_modelcheck.passes.attention.heads import Heads, heads_of
from pytest_modelcheck.passes.attention.search import nodes_behind
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import (
    GEMM_TYPES,
    only_reader,
    other_input,
    scope_of,
    weight_content,
    weight_shape,
    weight_source,
)
from pytest_modelcheck.shapes import dims

MAX_COPIED_BYTES = 2 * 1024 * 1024
"""What the Split may copy per node saved. Nothing but a copy divides one product: of 32 rows that is free, of 200 rows
and more 4 to 9 % of the product's time (onnxruntime 1.31, 384 columns each). Whisper-tiny's decoder, which projects
1500 states in each layer, was 7 % slower with k and v merged, for 4 of 176 nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """``result = x @ weight [+ bias]``, weight (in, out) or, with `transposed`, (out, in)."""

    x: ir.Value
    product: ir.Node
    add: ir.Node | None
    weight: ir.Value
    bias: ir.Value | None
    transposed: bool

    @property
    def result(self) -> ir.Value:
        return (self.add or self.product).outputs[0]

    @property
    def nodes(self) -> list[ir.Node]:
        return [self.product] if self.add is None else [self.product, self.add]


def try_merge(rewriter: Rewriter, derived: DerivedConstants, operands: Sequence[ir.Value | None]) -> ir.Node | None:
    """Merge what can be merged of the projections behind q, k and v. The new Split, None where nothing was done."""
    groups: dict[tuple[ir.Value, bool], list[Projection]] = {}
    for node in nodes_behind(operands):
        projection = projection_of(node) if node.op_type in ("MatMul", "Gemm") and node.domain == "" else None
        if projection is not None:
            groups.setdefault((projection.x, projection.transposed), []).append(projection)
    splits = (_try_merge_group(rewriter, derived, group) for group in groups.values() if len(group) > 1)
    return next((split for split in splits if split is not None), None)


def projection_of(product: ir.Node) -> Projection | None:
    """`product` and its bias as a projection; None where its weight is not a constant matrix."""
    x, weight = product.inputs[0], product.inputs[1]
    shape = weight_shape(weight)
    if x is None or weight is None or shape is None or len(shape) != 2 or has_reference_attributes(product):
        return None
    add, bias = None, product.inputs[2] if len(product.inputs) > 2 else None
    transposed = bool(integer_attribute(product, "transB", 0))
    if product.op_type == "Gemm":
        plain = float_attribute(product, "alpha", 1.0) == float_attribute(product, "beta", 1.0) == 1.0
        if not plain or integer_attribute(product, "transA", 0):
            return None
        if bias is not None and not _is_bias(bias, weight, transposed):
            return None
    elif (add := only_reader(product.outputs[0], "Add")) is not None:
        bias = other_input(add, product.outputs[0])
        if not _is_bias(bias, weight, transposed):
            add, bias = None, None
    return Projection(x=x, product=product, add=add, weight=weight, bias=bias, transposed=transposed)


def _is_bias(bias: ir.Value | None, weight: ir.Value, transposed: bool) -> bool:
    constant, matrix = constant_tensor(bias), weight_shape(weight)
    return constant is not None and matrix is not None and constant.shape == (matrix[0 if transposed else 1],)


def _try_merge_group(rewriter: Rewriter, derived: DerivedConstants, group: Sequence[Projection]) -> ir.Node | None:
    first = group[0]
    if any(projection.result.is_graph_output() for projection in group):
        rewriter.refuse("a projection is a graph output", first.product)
        return None
    heads = [heads_of(rewriter.known, projection.result) for projection in group]
    with_bias = any(projection.bias is not None for projection in group)
    fits = with_bias and len(rewriter.known.shape(first.x) or ()) == 2 and first.result.dtype in GEMM_TYPES
    is_gemm = fits or first.transposed
    saved = sum(len(p.nodes) for p in group) - (1 + (with_bias and not is_gemm) + 1)
    made_heads = [h for h in heads if h is not None]
    if len(made_heads) == len(heads) and len({h.key for h in made_heads}) == 1:
        saved += Heads.saved(made_heads)
    if saved <= 0:
        rewriter.refuse("merging these projections of one input would not save a node", first.product)
        return None
    scope = scope_of(first.product)
    weights = [shape for p in group if (shape := weight_shape(p.weight)) is not None]
    widths = [shape[0 if first.transposed else 1] for shape in weights]
    rows = dims.least(dims.product((rewriter.known.shape(first.x) or ())[:-1]))
    element = weight_source(first.weight)
    assert element is not None
    if (copied := int(rows * sum(widths) * element.dtype.itemsize)) > MAX_COPIED_BYTES * saved:
        what = f"{copied / 2**20:.1f} MiB or more would be copied apart again, to save {saved} node(s)"
        rewriter.refuse(f"merging these projections of one input does not pay: {what}", first.product)
        return None
    axis = 0 if first.transposed else 1
    matrix = derived.get(
        scope,
        ("packed", axis, *(p.weight for p in group)),
        lambda: np.concatenate([array for p in group if (array := weight_content(p.weight)) is not None], axis=axis),
        first.weight.name or "weight",
    )
    bias = None
    if with_bias:
        biases = [p.bias if p.bias is not None else width for p, width in zip(group, widths, strict=True)]
        bias = derived.get(scope, ("packed bias", *biases), partial(_joined, biases, element.dtype.numpy()), "bias")
    made = _product(rewriter, first, matrix, bias, is_gemm)
    split = rewriter.split(made[-1].outputs[0], -1, widths, scope, [projection.result for projection in group])
    old = [node for projection in group for node in projection.nodes]
    values = {p.result: output for p, output in zip(group, split.outputs, strict=True)}
    rewriter.replace(old, [*made, split], values)
    return split


def _joined(biases: Sequence[ir.Value | int], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """The biases one behind the other; a number is how many zeros there are instead of one."""
    parts = [np.zeros(bias, dtype) if isinstance(bias, int) else constant_array(bias) for bias in biases]
    return np.concatenate([part for part in parts if part is not None])


def _product(
    rewriter: Rewriter, first: Projection, matrix: ir.Value, bias: ir.Value | None, is_gemm: bool
) -> list[ir.Node]:
    dtype = first.result.dtype
    if is_gemm:
        inputs = [first.x, matrix] if bias is None else [first.x, matrix, bias]
        return [rewriter.node("Gemm", inputs, {"transB": 1} if first.transposed else {}, dtype=dtype)]
    product = rewriter.node("MatMul", [first.x, matrix], dtype=dtype)
    return [product] if bias is None else [product, rewriter.node("Add", [product.outputs[0], bias], dtype=dtype)]
