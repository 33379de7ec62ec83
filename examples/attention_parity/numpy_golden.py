"""Computes attention.golden.npz by numpy in float64: python -m examples.attention_parity.numpy_golden"""

from __future__ import annotations

from typing import Any

import numpy as np

from examples.attention_parity.case import GOLDEN, build, inputs
from pytest_modelcheck.golden import write_golden

Array = np.ndarray[Any, np.dtype[Any]]
SEEDS = (0, 1, 2)
HEADS = 2


def attention(state: dict[str, Array], x: Array) -> Array:
    """Causal self-attention: x (batch, seq, width) -> (batch, seq, width), from the formula."""
    query, key, value = (
        _heads(x @ state[f"{name}.weight"].T + state[f"{name}.bias"]) for name in ("query", "key", "value")
    )
    scores = np.einsum("bhqd,bhkd->bhqk", query, key) / np.sqrt(query.shape[-1])
    scores[..., np.triu_indices(x.shape[1], 1)[0], np.triu_indices(x.shape[1], 1)[1]] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    mixed = np.einsum("bhqk,bhkd->bqhd", weights, value).reshape(x.shape[0], x.shape[1], -1)
    return mixed @ state["out.weight"].T + state["out.bias"]


def _heads(joined: Array) -> Array:
    batch, length, width = joined.shape
    return joined.reshape(batch, length, HEADS, width // HEADS).transpose(0, 2, 1, 3)


def main() -> None:
    module = build()
    state = {name: value.numpy().astype(np.float64) for name, value in module.state_dict().items()}
    drawn = {seed: {name: value.numpy() for name, value in inputs(seed).items()} for seed in SEEDS}
    write_golden(
        GOLDEN,
        producer="numpy, float64",
        versions={"numpy": np.__version__},
        weights=module,
        inputs=drawn,
        outputs={
            seed: {"output": attention(state, named["x"].astype(np.float64)).astype(np.float32)}
            for seed, named in drawn.items()
        },
        note="causal self-attention from the formula, no framework: examples/attention_parity/numpy_golden.py",
    )


if __name__ == "__main__":
    main()
