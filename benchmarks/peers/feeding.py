"""What the models are fed with: seeded, three distributions for floats, masks with and without padding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pytest_modelcheck import ModelCase
from pytest_modelcheck.runtimes import Session, inputs_from_signature

Array = np.ndarray[Any, Any]

DISTRIBUTIONS = ("N(0, 1)", "N(-2, 1)", "U(0, 1)")
LARGE = (32, 160, 512, 576)
SIZES = (None, 1, 5, *LARGE)
"""What dimensions that are no numbers are in the inputs of a file (None: the usual sizes); large where they must be."""
KNOWN = {"sr": 16_000, "speed": 1}
"""Inputs that take one of few numbers, in the files that packages ship."""
MASKS = ("as the case gives it", "nothing masked", "padded on the other side")


def feeds(case: ModelCase, session: Session, seeds: int) -> Iterator[dict[str, Array]]:
    """One feed per seed; distributions and masks take turns, so that nine seeds have all pairs of them.

    Integers are the case's own (token ids over the whole vocabulary), drawn anew for every seed.
    """
    for seed in range(seeds):
        given = _named(case, session, seed)
        masks = [name for name in given if "mask" in name]
        floats = [name for name, array in given.items() if array.dtype.kind == "f" and name not in masks]
        generator = np.random.default_rng(seed)
        distribution, mask = DISTRIBUTIONS[seed % 3], MASKS[(seed + seed // 3) % 3]
        given |= {name: _draw(distribution, given[name], generator) for name in floats}
        given |= {name: _mask(mask, given[name]) for name in masks}
        yield given


def drawn(session: Session, count: int) -> list[dict[str, Array]]:
    """Feeds for a file that came without any, of up to three sizes in turn.

    Raises:
        RuntimeError: It takes none that is drawn.
    """

    def draw(seed: int, size: int | None) -> dict[str, Array]:
        given = inputs_from_signature(session, seed, size)
        return given | {name: np.full_like(given[name], value) for name, value in KNOWN.items() if name in given}

    taken: list[int | None] = []
    reason = ""
    for size in SIZES:
        if len(taken) == 3 or (taken and size in LARGE):
            break
        try:
            session.run(draw(0, size))
        except Exception as error:  # whatever a refused size raises in onnxruntime; all refused is an error
            reason = reason or " ".join(str(error).split())
        else:
            taken.append(size)
    if not taken:
        raise RuntimeError(f"no drawn input is taken: {reason[:200]}")
    return [draw(seed, taken[seed % len(taken)]) for seed in range(count)]


def _named(case: ModelCase, session: Session, seed: int) -> dict[str, Array]:
    """The case's own inputs for a seed, as far as the graph takes them."""
    assert case.inputs is not None
    made = case.inputs(seed)
    ports = [port.name for port in session.inputs]
    named = made if isinstance(made, dict) else dict(zip(ports, made, strict=False))
    return {name: value.numpy() for name, value in named.items() if name in ports}


def _draw(distribution: str, like: Array, generator: np.random.Generator) -> Array:
    samplers: dict[str, Callable[[Any], Any]] = {
        "N(0, 1)": generator.standard_normal,
        "N(-2, 1)": lambda shape: generator.standard_normal(shape) - 2,
        "U(0, 1)": generator.random,
    }
    return np.asarray(samplers[distribution](like.shape)).astype(like.dtype)


def _mask(kind: str, given: Array) -> Array:
    if kind == MASKS[0]:
        return given
    return np.ones_like(given) if kind == MASKS[1] else np.ascontiguousarray(given[..., ::-1])
