"""Eight ways in which attention is used, each with what the module gives and what it must give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from examples.attention_parity import reference
from examples.attention_parity.attention import Attention

Outputs = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Scenario:
    """One use of the module.

    Attributes:
        name: What it is.
        build: The module, in eval mode.
        given: What the module gives.
        expected: What it must give, from its weights alone (`reference`).
    """

    name: str
    build: Callable[[], Attention]
    given: Callable[[Attention], Outputs]
    expected: Callable[[Attention], Outputs]


def draw(seed: int, *shape: int) -> torch.Tensor:
    """N(0, 1), float32."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def built(*sizes: int, **options: Any) -> Callable[[], Attention]:
    def build() -> Attention:
        torch.manual_seed(0)
        return Attention(*sizes, **options).eval()

    return build


def once(x: torch.Tensor, context: torch.Tensor | None = None) -> Callable[[Attention], Outputs]:
    return lambda module: {"output": module(x, context)["output"].detach()}


def by_reference(x: torch.Tensor, context: torch.Tensor | None = None) -> Callable[[Attention], Outputs]:
    def expected(module: Attention) -> Outputs:
        state = dict(module.state_dict())
        return {"output": reference.attention(state, module.heads, x, context, causal=module.causal)}

    return expected


X, CONTEXT, LONG, LARGE = draw(1, 2, 5, 8), draw(2, 2, 7, 12), draw(3, 2, 9, 8), draw(4, 256, 6, 8)


def with_caching(module: Attention) -> Outputs:
    """One pass that also hands out its keys and values."""
    made = module(LONG)
    return {"output": made["output"].detach(), "key": made["present"][0].detach(), "value": made["present"][1].detach()}


def cached_by_reference(module: Attention) -> Outputs:
    key, value = reference.keys_and_values(dict(module.state_dict()), LONG, module.heads)
    return {**by_reference(LONG)(module), "key": key.float(), "value": value.float()}


def using_a_cache(module: Attention) -> Outputs:
    """The last two positions, with keys and values that the module did not make itself."""
    past = reference.keys_and_values(dict(module.state_dict()), LONG[:, :7], module.heads)
    made = module(LONG[:, 7:], past=tuple(tensor.float() for tensor in past))
    return {"output": made["output"].detach()}


def streaming(module: Attention) -> Outputs:
    """Chunks of 2, 1, 3 and 3 positions."""
    past, outputs = None, []
    for chunk in LONG.split([2, 1, 3, 3], dim=1):
        made = module(chunk, past=past)
        past = made["present"]
        outputs.append(made["output"].detach())
    return {"output": torch.cat(outputs, 1)}


def the_last_two(module: Attention) -> Outputs:
    return {"output": by_reference(LONG)(module)["output"][:, 7:]}


SCENARIOS = (
    Scenario("small self-attention", built(8, 2), once(X), by_reference(X)),
    Scenario("cross-attention", built(8, 2, context_width=12), once(X, CONTEXT), by_reference(X, CONTEXT)),
    Scenario("different d_k and d_v", built(8, 2, key_size=3, value_size=5), once(X), by_reference(X)),
    Scenario("shared keys and values", built(8, 2, shared=True), once(X), by_reference(X)),
    Scenario("with caching", built(8, 2, causal=True), with_caching, cached_by_reference),
    Scenario("using a cache", built(8, 2, causal=True), using_a_cache, the_last_two),
    Scenario("streaming", built(8, 2, causal=True), streaming, by_reference(LONG)),
    Scenario("large batch, dropout off", built(8, 2, dropout=0.5), once(LARGE), by_reference(LARGE)),
)
