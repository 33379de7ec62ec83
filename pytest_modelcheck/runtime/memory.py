"""Giving freed memory back to the operating system."""

from __future__ import annotations

import ctypes
import gc
import sys


def return_freed_memory() -> None:
    """Collect garbage and let glibc return what was freed.

    A closed onnxruntime session leaves its weights in the arenas of glibc: after the sweep of BERT-base 1.5 copies of
    the weights that nobody uses any more, which the next session comes on top of. Does nothing on other systems.
    """
    gc.collect()
    if sys.platform != "linux":
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
