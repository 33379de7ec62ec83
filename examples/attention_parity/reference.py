"""What the attention module must give, by torch.nn.functional alone, in float64: no line of the module is used."""

from __future__ import annotations

import torch
from torch.nn import functional

State = dict[str, torch.Tensor]


def keys_and_values(state: State, source: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(batch, heads, seq, size) each, of a source (batch, seq, width)."""
    value = "value" if "value.weight" in state else "key"

    def projected(name: str) -> torch.Tensor:
        weight, bias = state[f"{name}.weight"].double(), state[f"{name}.bias"].double()
        return _heads(functional.linear(source.double(), weight, bias), heads)

    return projected("key"), projected(value)


def attention(
    state: State, heads: int, x: torch.Tensor, context: torch.Tensor | None = None, *, causal: bool = False
) -> torch.Tensor:
    """The output for all positions at once, (batch, seq, width) float32, by `scaled_dot_product_attention`."""
    weights = {name: value.double() for name, value in state.items()}
    query = _heads(functional.linear(x.double(), weights["query.weight"], weights["query.bias"]), heads)
    key, value = keys_and_values(state, x if context is None else context, heads)
    mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
    return functional.linear(mixed.transpose(1, 2).flatten(2), weights["out.weight"], weights["out.bias"]).float()


def multi_head_attention(
    state: State, heads: int, x: torch.Tensor, context: torch.Tensor | None = None
) -> torch.Tensor:
    """The same by `multi_head_attention_forward`, for heads of width / heads: a second opinion on the first."""
    weights = {name: value.double() for name, value in state.items()}
    source = (x if context is None else context).double().transpose(0, 1)
    width = x.shape[-1]
    made, _ = functional.multi_head_attention_forward(
        query=x.double().transpose(0, 1),
        key=source,
        value=source,
        embed_dim_to_check=width,
        num_heads=heads,
        in_proj_weight=None,
        in_proj_bias=torch.cat([weights["query.bias"], weights["key.bias"], weights["value.bias"]]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=weights["out.weight"],
        out_proj_bias=weights["out.bias"],
        training=False,
        use_separate_proj_weight=True,
        q_proj_weight=weights["query.weight"],
        k_proj_weight=weights["key.weight"],
        v_proj_weight=weights["value.weight"],
    )
    return made.transpose(0, 1).float()


def _heads(joined: torch.Tensor, heads: int) -> torch.Tensor:
    return joined.unflatten(-1, (heads, -1)).transpose(1, 2)
