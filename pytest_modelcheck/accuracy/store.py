"""Where outputs wait between the run that made them and the comparison: in memory while small, else on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType

import numpy as np

from pytest_modelcheck.accuracy.metrics import Array

MEMORY_BYTES = 256 * 1024 * 1024
"""Outputs beyond this many bytes in all are written to a temporary folder."""


class OutputStore:
    """Outputs by stage and seed. A context manager: its temporary files are gone at the end."""

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._free = memory_bytes
        self._held: dict[str, dict[int, dict[str, Array]]] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files = 0

    def __enter__(self) -> OutputStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def put(self, stage: str, seed: int, outputs: Mapping[str, Array]) -> None:
        """Keep `outputs`, whose order is kept too."""
        self._held.setdefault(stage, {})[seed] = {name: self._kept(array) for name, array in outputs.items()}

    def get(self, stage: str, seed: int) -> dict[str, Array]:
        """What was put; arrays on disk come back memory-mapped. Raises KeyError where nothing was put."""
        return self._held[stage][seed]

    def keep_only(self, stages: Collection[str | None]) -> None:
        """Forget every stage that is not in `stages`."""
        for stage in [stage for stage in self._held if stage not in stages]:
            for outputs in self._held.pop(stage).values():
                for array in outputs.values():
                    if isinstance(array, np.memmap):
                        Path(str(array.filename)).unlink(missing_ok=True)
                    else:
                        self._free += array.nbytes

    def _kept(self, array: Array) -> Array:
        if array.nbytes <= self._free or array.dtype.hasobject:
            self._free -= array.nbytes
            return array
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="modelcheck-outputs-", ignore_cleanup_errors=True)
        self._files += 1
        path = Path(self._folder.name) / f"{self._files}.bin"
        np.ascontiguousarray(array).tofile(path)
        return np.memmap(path, dtype=array.dtype, mode="r", shape=array.shape)
