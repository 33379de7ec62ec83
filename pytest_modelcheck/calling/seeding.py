"""A block under a seed of torch's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block under torch's global seed; the CPU's random state is as it was found afterwards."""
    with torch.random.fork_rng(devices=[]):
        if torch.accelerator.is_available():
            torch.manual_seed(seed)
        else:  # torch.manual_seed keeps the seed, with a stack trace, for each kind of device that may come: 10 ms
            torch.default_generator.manual_seed(seed)
        yield
