"""Giving freed memory back to the operating system."""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
from pathlib import Path

import onnx_ir as ir

_GROWN = 64 * 2**20
_STATM = Path("/proc/self/statm")


class Growth:
    """How much more memory the process holds than it did."""

    def __init__(self) -> None:
        self._before = 0

    def is_large(self) -> bool:
        """Whether it holds 64 MB more than when this was last so, or True on a system that does not tell.

        What tests of small models leave is not worth a collection, which takes longer than each of them.
        """
        try:
            now = int(_STATM.read_text().split()[1]) * mmap.PAGESIZE
        except OSError:
            return True
        large = now - self._before >= _GROWN
        self._before = now if large else min(now, self._before)
        return large


GROWTH = Growth()


def return_freed_memory(*, collect: bool = True) -> None:
    """Let glibc return what was freed.

    Args:
        collect: Collect garbage first. Graphs and modules hold themselves in circles, a closed session does not; with
            torch and transformers loaded one collection takes 0.2 s.

    A closed onnxruntime session leaves its weights in the arenas of glibc: after the sweep of BERT-base 1.5 copies of
    the weights that nobody uses any more, which the next session comes on top of. Does nothing on other systems.
    """
    if collect:
        gc.collect()
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def release_mapped_weights(model: ir.Model) -> None:
    """Let the system take back the pages of weights read from their files; they are read again when needed."""
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if advice is None:
        return
    for graph in (model.graph, *model.graph.subgraphs()):
        for value in graph.initializers.values():
            mapped = value.const_value.raw if isinstance(value.const_value, ir.ExternalTensor) else None
            if isinstance(mapped, mmap.mmap):
                mapped.madvise(advice)
