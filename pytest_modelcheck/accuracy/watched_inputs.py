"""Inputs that are watched while they are drawn: a sweep over inputs that ignore their seed measures one seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from pytest_modelcheck.accuracy.stages import Inputs, flat_arrays
from pytest_modelcheck.accuracy.sweep_report import accuracy_error
from pytest_modelcheck.result import Finding


class WatchedInputs:
    """The inputs function, watched: equal seeds must give equal inputs, and different seeds different ones."""

    def __init__(self, draw: Callable[[int], Inputs], model: str) -> None:
        self.model = model
        self._draw = draw
        self._digests: dict[int, bytes] = {}
        self._changed: list[int] = []
        self._by_input: dict[str, set[bytes]] = {}

    def __call__(self, seed: int) -> Inputs:
        drawn = self._draw(seed)
        if seed not in self._digests:
            for name, array in flat_arrays(drawn).items():
                self._by_input.setdefault(name, set()).add(input_digest({name: array}))
        digest = input_digest(drawn)
        if self._digests.setdefault(seed, digest) != digest and seed not in self._changed:
            self._changed.append(seed)
        return drawn

    @property
    def changed(self) -> bool:
        """Whether a seed has given other values on a second call."""
        return bool(self._changed)

    @property
    def distinct(self) -> int:
        """How many different inputs were drawn so far."""
        return len(set(self._digests.values()))

    def notes(self) -> tuple[str, ...]:
        """Inputs that are the same for every seed: what depends on them alone was measured once."""
        if len(self._digests) < 2 or self.distinct < 2:
            return ()
        return tuple(
            f"input {name!r} is the same for every seed: draw it from the seed if it matters"
            for name, digests in self._by_input.items()
            if len(digests) == 1
        )

    def findings(self) -> list[Finding]:
        found = []
        if self._changed:
            found.append(
                accuracy_error(
                    self.model,
                    "inputs",
                    "the same values each time it is called with the same seed",
                    f"other values for seed {self._changed[0]} on a second call",
                    next="Draw from a generator made from the seed: torch.Generator().manual_seed(seed), "
                    "numpy.random.default_rng(seed). Nothing was compared: each stage would be fed other inputs.",
                )
            )
            return found
        seeds, distinct = len(self._digests), self.distinct
        if 2 * distinct < seeds or (seeds == 2 and distinct == 1):
            alike = "the same values for every seed: only one input was measured"
            found.append(
                accuracy_error(
                    self.model,
                    "inputs",
                    f"different values for {seeds} seeds",
                    alike if distinct == 1 else f"only {distinct} different inputs: the seeds repeat each other",
                    next="Use the seed: inputs(seed) is called with 0, 1, 2, ...",
                )
            )
        return found


def input_digest(inputs: Inputs) -> bytes:
    """A hash over names, dtypes, shapes and bytes of the inputs."""
    digest = hashlib.blake2b(digest_size=16)
    for name, array in flat_arrays(inputs).items():
        digest.update(f"{name}:{array.dtype}:{array.shape};".encode())
        digest.update(repr(array.tolist()).encode() if array.dtype.hasobject else np.ascontiguousarray(array).tobytes())
    return digest.digest()
