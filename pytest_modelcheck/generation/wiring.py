"""What each input and output of an exported decoder is for: ids, mask, positions, logits, cache in and cache out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_modelcheck.errors import ModelCaseError

Array = np.ndarray[Any, np.dtype[Any]]

_IDS = ("input_ids", "decoder_input_ids", "tokens", "ids")
_CACHE = re.compile(r"past_key_values?|present_key_values?|past|present|cache", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """How a decoder is run step by step.

    Attributes:
        ids: Input of the new tokens, (batch, sequence) int.
        logits: Output, (batch, sequence, vocabulary) or (batch, vocabulary) float.
        cache: Input of the past -> output that is its next one; empty for an export without a cache.
        grows: Masks over past and new tokens, (batch, past + sequence): one more 1 for each new token.
        positions: Inputs that count the new tokens, (batch, sequence) or (sequence,) int.
    """

    ids: str
    logits: str
    cache: Mapping[str, str] = field(default_factory=dict)
    grows: tuple[str, ...] = ()
    positions: tuple[str, ...] = ()


def wiring_of(
    inputs: Mapping[str, Array],
    outputs: Sequence[str],
    *,
    ids: str | None = None,
    logits: str = "logits",
    cache: Mapping[str, str] | None = None,
) -> Wiring:
    """The wiring of a decoder, read from the names of its inputs and outputs.

    Args:
        inputs: Example inputs by name.
        outputs: Names of the outputs, in order.
        ids: Input of the tokens; None takes the one that is named like it.
        logits: Output of the logits.
        cache: Beginning of the inputs of the past -> beginning of the outputs that replace them, e.g.
            ``{"self_past": "present"}``; None pairs names that differ in ``past`` and ``present``.

    Raises:
        ModelCaseError: naming what is not found and how to name it.

    >>> wiring_of({"input_ids": ids, "past.0.key": key}, ["logits", "present.0.key"]).cache
    {'past.0.key': 'present.0.key'}
    """
    found = ids or next((name for name in _IDS if name in inputs), None)
    if found is None or found not in inputs:
        raise ModelCaseError(
            f"no input of token ids{f' named {ids!r}' if ids else ''} among {', '.join(inputs)}; name it by ids=..."
        )
    if logits not in outputs:
        raise ModelCaseError(f"no output {logits!r} among {', '.join(outputs)}; name the logits by logits=...")
    paired = _by_prefix(inputs, outputs, cache) if cache is not None else _by_name(inputs, outputs)
    length = inputs[found].shape[1]
    past = max((inputs[name].shape[-2] for name in paired if inputs[name].ndim > 2), default=0)
    return Wiring(
        ids=found,
        logits=logits,
        cache=paired,
        grows=tuple(name for name, array in inputs.items() if _is_mask(name, array, past + length, found)),
        positions=tuple(name for name, array in inputs.items() if _is_positions(name, array, length)),
    )


def _by_name(inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, str]:
    """Inputs and outputs of a cache whose names are equal but for the word that says which of the two they are."""
    given = {name: _CACHE.sub("", name, count=1) for name in inputs if _is_past(name, inputs[name])}
    results = {_CACHE.sub("", name, count=1): name for name in outputs if _CACHE.search(name)}
    paired = {name: results[rest] for name, rest in given.items() if rest in results}
    if results and len(paired) < len(results):
        raise ModelCaseError(
            f"the cache's outputs {', '.join(results.values())} are not all the next values of its inputs "
            f'{", ".join(given) or "(none)"}; name both by cache={{"past": "present"}}'
        )
    return paired


def _by_prefix(inputs: Mapping[str, Array], outputs: Sequence[str], cache: Mapping[str, str]) -> dict[str, str]:
    paired: dict[str, str] = {}
    for before, after in cache.items():
        given = [name for name in inputs if name == before or name.startswith(f"{before}.")]
        results = [name for name in outputs if name == after or name.startswith(f"{after}.")]
        if not given or len(given) != len(results):
            raise ModelCaseError(
                f"cache={{{before!r}: {after!r}}}: {len(given)} inputs ({', '.join(given) or 'none'}) and "
                f"{len(results)} outputs ({', '.join(results) or 'none'}) of these names"
            )
        paired |= dict(zip(given, results, strict=True))
    return paired


def _is_past(name: str, array: Array) -> bool:
    return array.ndim > 2 and array.dtype.kind not in "iub" and _CACHE.search(name) is not None


def _is_mask(name: str, array: Array, total: int, ids: str) -> bool:
    of_encoder = "encoder" in name.replace("decoder", "") or (ids.startswith("decoder") and name == "attention_mask")
    return "mask" in name.lower() and array.ndim == 2 and array.shape[1] == total and not of_encoder


def _is_positions(name: str, array: Array, length: int) -> bool:
    return "position" in name.lower() and array.dtype.kind in "iu" and array.ndim < 3 and array.shape[-1:] == (length,)
