"""Python's garbage collector, held back while graphs are built.

A graph is hundreds of thousands of objects that refer to each other, and all of them live: the collector looks through
them again and again and finds nothing. It takes half of the time of a pipeline over 100,000 nodes.
"""

from __future__ import annotations

import gc
from types import TracebackType

import onnx_ir as ir

_MAX_NODES = 150_000
"""So many nodes of thrown away graphs may wait for collection: about 300 MB."""

_MAX_BYTES = 256 * 1024 * 1024
"""So many bytes of weights may be held by graphs that are not needed any more."""


class GarbagePaused:
    """A ``with`` block in which nothing is collected, but for `threw_away`; nests, and restores what it found."""

    def __init__(self) -> None:
        self._was_enabled = False
        self._nodes = 0
        self._bytes = 0

    def __enter__(self) -> GarbagePaused:
        self._was_enabled = gc.isenabled()
        gc.disable()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._was_enabled:
            gc.enable()

    def threw_away(self, model: ir.Model, *, nbytes: int = 0) -> None:
        """Collect, if the models thrown away since the last time are worth it. The caller still holds `model`."""
        self._nodes += len(model.graph)
        self._bytes += nbytes
        if self._nodes > _MAX_NODES or self._bytes > _MAX_BYTES:
            gc.collect()
            self._nodes = self._bytes = 0
