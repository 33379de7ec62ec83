"""Multi-head attention with a key/value cache, written out in elementary operations.

Self- or cross-attention; keys and values may have other sizes than each other, or be one and the same tensor.
"""

from __future__ import annotations

import math

import torch

Pair = tuple[torch.Tensor, torch.Tensor]


class Attention(torch.nn.Module):
    """softmax(q k^T / sqrt(key_size)) v, per head.

    Args:
        width: Size of x and of the output.
        heads: Number of heads.
        key_size, value_size: Per head; None for width / heads.
        context_width: Size of the context that keys and values are made of; None for width.
        shared: One projection makes keys and values.
        causal: Position i sees positions up to i only.
        dropout: Of the attention weights; off in eval mode.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        key_size: int | None = None,
        value_size: int | None = None,
        context_width: int | None = None,
        shared: bool = False,
        causal: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.key_size = key_size or width // heads
        self.value_size = value_size or width // heads
        self.query = torch.nn.Linear(width, heads * self.key_size)
        self.key = torch.nn.Linear(context_width or width, heads * self.key_size)
        self.value = self.key if shared else torch.nn.Linear(context_width or width, heads * self.value_size)
        self.out = torch.nn.Linear(heads * self.value_size, width)
        self.dropout = torch.nn.Dropout(dropout)

    def forward(
        self, x: torch.Tensor, context: torch.Tensor | None = None, past: Pair | None = None
    ) -> dict[str, torch.Tensor | Pair]:
        """x: (batch, seq, width), context: (batch, context_seq, context_width), past: keys and values seen so far.

        Keys are (batch, heads, seq, key_size), values (batch, heads, seq, value_size); ``present`` is the next `past`.
        """
        source = x if context is None else context
        query = self.split(self.query(x))
        key, value = self.append(past, (self.split(self.key(source)), self.split(self.value(source))))
        scores = query @ key.transpose(2, 3) * self.scale()
        if self.causal:
            scores = scores.masked_fill(~self.visible(query.shape[2], key.shape[2]), -math.inf)
        mixed = self.dropout(scores.softmax(-1)) @ value
        return {"output": self.out(mixed.transpose(1, 2).flatten(2)), "present": (key, value)}

    def split(self, joined: torch.Tensor) -> torch.Tensor:
        """(batch, seq, heads * size) -> (batch, heads, seq, size)"""
        return joined.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def scale(self) -> float:
        return 1 / math.sqrt(self.key_size)

    def append(self, past: Pair | None, new: Pair) -> Pair:
        """The cache with the new keys and values behind those of `past`."""
        return new if past is None else (torch.cat([past[0], new[0]], 2), torch.cat([past[1], new[1]], 2))

    def visible(self, queries: int, keys: int) -> torch.Tensor:
        """(queries, keys) bool: the queries are the last of the positions."""
        return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
