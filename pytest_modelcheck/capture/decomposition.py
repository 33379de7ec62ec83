"""`decompose`: attention written out in elementary operations, over the same weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import torch

from pytest_modelcheck.capture.captured import Captured
from pytest_modelcheck.capture.example_values import record_values
from pytest_modelcheck.capture.multihead import write_out_multihead_attention
from pytest_modelcheck.capture.silence import quiet
from pytest_modelcheck.errors import ModelCaseError

_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default


def decompose(captured: Captured) -> Captured:
    """`captured` with attention written out; `linear` stays whole, weights are shared.

    That is every `scaled_dot_product_attention` of an exported program, and every `nn.MultiheadAttention` of a symbolic
    trace. An exported program without attention stays the same object: to write nothing out takes as long as a capture.

    Raises:
        ModelCaseError: for a symbolic trace with an `nn.MultiheadAttention` in a form that only torch.export covers.
    """
    if captured.source is None:
        traced = write_out_multihead_attention(captured.graph_module)
        record_values(traced, captured.inputs)
        return dataclasses.replace(captured, graph_module=traced, decomposed=True)
    if not any(node.target is _ATTENTION for node in _nodes(captured.source.graph_module)):
        return dataclasses.replace(captured, decomposed=True)
    # From the undecomposed program: there a reshape of the attention's result is still a reshape. At ATen level it is a
    # view that relies on the memory layout which the fused kernel chose.
    with quiet():
        program = captured.source.run_decompositions({_ATTENTION: written_out_attention})
    return dataclasses.replace(captured, program=program, graph_module=program.graph_module, decomposed=True)


def _nodes(graph: torch.fx.GraphModule) -> Iterator[torch.fx.Node]:
    """The nodes of a graph and of the graphs inside it: branches, loops."""
    for module in graph.modules():
        if isinstance(module, torch.fx.GraphModule):
            yield from module.graph.nodes


def written_out_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """softmax(Q K^T * scale + mask) V.

    Source: the reference code in the documentation of `torch.nn.functional.scaled_dot_product_attention`; a row whose
    mask leaves nothing gives zeros, as the kernels do.

    Args:
        query: (batch..., heads, target, head_dim) float.
        key, value: (batch..., heads or a divisor of it, source, head_dim) float.
        attn_mask: Broadcastable to (batch..., heads, target, source); bool (True takes part) or additive float.
        dropout_p: Must be 0: eval mode.
        is_causal: Mask out the positions after the target's own.
        scale: Default: 1 / sqrt(head_dim).
        enable_gqa: key and value have fewer heads, each of which serves a group of query heads.
    """
    if dropout_p:
        raise ModelCaseError(f"attention with dropout {dropout_p} cannot be written out; capture in eval mode")
    if enable_gqa:
        key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        value = value.repeat_interleave(query.size(-3) // value.size(-3), -3)
    if is_causal:
        attn_mask = torch.ones(query.size(-2), key.size(-2), dtype=torch.bool, device=query.device).tril()
    scores = torch.matmul(query, key.transpose(-2, -1)) * (1 / math.sqrt(query.size(-1)) if scale is None else scale)
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(attn_mask.logical_not(), -math.inf)
        else:
            scores = scores + attn_mask
    weights = torch.softmax(scores, -1)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        weights = weights.masked_fill(attn_mask.logical_not(), 0.0)
    return torch.matmul(weights, value)
