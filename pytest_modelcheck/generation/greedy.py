"""The logits of each step: torch on the whole sequence, a session on one new token and its cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from pytest_modelcheck.accuracy.stages import feeds_for, flat_arrays, to_numpy
from pytest_modelcheck.calling import ModuleInputs, run_module
from pytest_modelcheck.generation.wiring import Array, Wiring
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.runtimes import Session


def tokens_of_torch(
    case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs, wiring: Wiring, steps: int
) -> list[Array]:
    """The logits of each step, (batch, vocabulary), of a module that sees the whole sequence each time.

    Each step takes the past of `inputs` and every token since: no cache of torch's own takes part, so that the export's
    is held against something that has none.
    """
    grown = inputs.as_dict()
    logits: list[Array] = []
    for _ in range(steps):
        outputs = run_module(case, module, replace(inputs, values=tuple(grown[name] for name in inputs.names)))
        logits.append(_last(to_numpy(outputs[wiring.logits])))
        tokens = torch.from_numpy(logits[-1].argmax(-1))[:, None]
        grown[wiring.ids] = torch.cat([grown[wiring.ids], tokens.to(grown[wiring.ids])], 1)
        for name in wiring.grows:
            grown[name] = torch.cat([grown[name], torch.ones_like(grown[name][:, :1])], 1)
        for name in wiring.positions:
            grown[name] = torch.cat([grown[name], grown[name][..., -1:] + 1], -1)
    return logits


def tokens_of_session(
    session: Session,
    inputs: ModuleInputs,
    wiring: Wiring,
    tokens: Sequence[Array],
    *,
    change: Callable[[Mapping[str, Array]], Mapping[str, Array]] = lambda cache: cache,
) -> tuple[list[Array], list[float]]:
    """The logits of each step, (batch, vocabulary), of a session whose cache goes from step to step, and its seconds.

    Args:
        session: Of an exported decoder.
        inputs: The first step's; their past is the first cache.
        wiring: Which input is what.
        tokens: Per step the tokens (batch,) that the reference chose: the next step sees these, whatever the session
            itself would choose. Up to the first token that differs that is the same.
        change: What to make of the cache before the last step, for a comparison that has to see it.
    """
    given = flat_arrays(inputs)
    logits: list[Array] = []
    seconds: list[float] = []
    for index, chosen in enumerate(tokens):
        if index and index == len(tokens) - 1:
            given |= change({name: given[name] for name in wiring.cache})
        feeds, began = feeds_for(session, given), time.perf_counter()
        outputs = session.run(feeds)
        seconds.append(time.perf_counter() - began)
        logits.append(_last(outputs[wiring.logits]))
        new = chosen[:, None].astype(given[wiring.ids].dtype)
        given[wiring.ids] = new if wiring.cache else np.concatenate([given[wiring.ids], new], 1)
        given |= {name: outputs[result] for name, result in wiring.cache.items()}
        for name in wiring.grows:
            given[name] = np.concatenate([given[name], np.ones_like(given[name][:, :1])], 1)
        for name in wiring.positions:
            following = given[name][..., -1:] + 1
            given[name] = following if wiring.cache else np.concatenate([given[name], following], -1)
    return logits, seconds


def _last(logits: Array) -> Array:
    return logits[:, -1] if logits.ndim == 3 else logits
