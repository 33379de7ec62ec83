"""`nn.MultiheadAttention` in a symbolic trace, written out call by call."""

from __future__ import annotations

import copy
import math

import torch
from torch import fx, nn

from pytest_modelcheck.errors import ModelCaseError


def write_out_multihead_attention(traced: fx.GraphModule) -> fx.GraphModule:
    """`traced` with each call of an `nn.MultiheadAttention` written out; weights are shared, `traced` is not touched.

    One call becomes 21 nodes: 4 linear, 2 size, 4 reshape, 5 transpose, 2 matmul, mul, softmax, contiguous, tuple.

    Raises:
        ModelCaseError: for a call in a form that this does not cover (masks, weights asked for, other widths for keys
            and values, biases in keys and values, batch second): torch.export covers those.
    """
    made = fx.GraphModule(traced, copy.deepcopy(traced.graph))
    modules = dict(made.named_modules())
    for serial, node in enumerate(list(made.graph.nodes)):
        attention = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(attention, nn.MultiheadAttention):
            _write_out(made, node, attention, serial)
    made.graph.lint()
    made.recompile()
    return made


def _write_out(made: fx.GraphModule, call: fx.Node, attention: nn.MultiheadAttention, serial: int) -> None:
    query, key, value = _operands(call, attention)
    graph, width, heads = made.graph, attention.embed_dim, attention.num_heads
    weights = _weights(made, call, attention, serial)
    with graph.inserting_before(call):
        batch = graph.call_method("size", (query, 0))
        length = graph.call_method("size", (query, 1))
        parts = []
        for operand, (weight, bias) in zip((query, key, value), weights[:3], strict=True):
            projected = graph.call_function(nn.functional.linear, (operand, weight, bias))
            apart = graph.call_method("reshape", (projected, batch, -1, heads, width // heads))
            parts.append(graph.call_method("transpose", (apart, 1, 2)))
        turned = graph.call_method("transpose", (parts[1], -2, -1))
        scores = graph.call_function(torch.matmul, (parts[0], turned))
        scaled = graph.call_function(torch.mul, (scores, 1 / math.sqrt(width // heads)))
        shares = graph.call_function(torch.softmax, (scaled, -1))
        weighed = graph.call_function(torch.matmul, (shares, parts[2]))
        together = graph.call_method("transpose", (weighed, 1, 2))
        dense = graph.call_method("contiguous", (together,))
        joined = graph.call_method("reshape", (dense, batch, length, width))
        result = graph.call_function(nn.functional.linear, (joined, *weights[3]))
        pair = graph.call_function(tuple, ((result, None),))
    call.replace_all_uses_with(pair)
    graph.erase_node(call)


def _operands(call: fx.Node, attention: nn.MultiheadAttention) -> tuple[fx.Node, fx.Node, fx.Node]:
    given = dict(zip(("query", "key", "value", "key_padding_mask", "need_weights"), call.args, strict=False))
    given |= call.kwargs
    unusual = {
        "key_padding_mask": given.get("key_padding_mask") is not None,
        "attn_mask": given.get("attn_mask") is not None,
        "is_causal": bool(given.get("is_causal")),
        "need_weights": given.get("need_weights", True) is not False,
        "kdim or vdim": not attention._qkv_same_embed_dim,
        "add_bias_kv": attention.bias_k is not None,
        "add_zero_attn": attention.add_zero_attn,
        "batch_first=False": not attention.batch_first,
    }
    if found := [name for name, is_there in unusual.items() if is_there]:
        raise ModelCaseError(
            f"{call.target}: nn.MultiheadAttention with {', '.join(found)} is not written out in a symbolic trace; "
            f"capture with how='export'"
        )
    query, key, value = given["query"], given["key"], given["value"]
    assert isinstance(query, fx.Node)
    assert isinstance(key, fx.Node)
    assert isinstance(value, fx.Node)
    return query, key, value


def _weights(
    made: fx.GraphModule, call: fx.Node, attention: nn.MultiheadAttention, serial: int
) -> list[tuple[fx.Node, fx.Node | None]]:
    """(weight, bias) of q, k, v and out as graph nodes; the parts of the packed projection are views of it."""
    weights = [*attention.in_proj_weight.chunk(3), attention.out_proj.weight]
    packed = attention.in_proj_bias
    biases = [None] * 4 if packed is None else [*packed.chunk(3), attention.out_proj.bias]
    nodes: list[tuple[fx.Node, fx.Node | None]] = []
    with made.graph.inserting_before(call):
        for part, weight, bias in zip(("q", "k", "v", "out"), weights, biases, strict=True):
            pair: list[fx.Node | None] = []
            for kind, tensor in (("weight", weight), ("bias", bias)):
                if tensor is None:
                    pair.append(None)
                    continue
                name = f"_attention_{serial}_{part}_{kind}"
                made.register_buffer(name, tensor.detach(), persistent=False)
                pair.append(made.graph.get_attr(name))
            assert pair[0] is not None
            nodes.append((pair[0], pair[1]))
    return nodes
