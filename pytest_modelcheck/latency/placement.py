"""Where the memory of a process lies, evened out: what is timed should not depend on it.

Which physical pages a session's weights got decides how they share the caches, for as long as the session lives. Eight
sessions of one BERT with 4 layers differed by 2.7 % (standard deviation of their processor time) on pages of 4 KiB, and
by 0.5 % on huge pages of 2 MiB; those of MobileNetV3-Small, whose weights are few, by 1.4 and 1.0 %.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_HUGE = 2 << 20
_MADV_COLLAPSE = 25  # Linux 6.1; earlier kernels answer EINVAL, and nothing changes
_WRITABLE = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ 00:00 0 *(?:\[heap\])?$")
_MAPS = Path("/proc/self/maps")
_TRIES = 3


def use_huge_pages() -> bool:
    """Move the memory that this process has allocated to huge pages; whether any of it could be.

    Costs 0.3 to 2 ms per 2 MiB that is not there yet. Nothing is done on other systems, on a kernel that cannot, or
    where transparent huge pages are switched off.
    """
    if sys.platform != "linux":
        return False
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    def collapse(low: int, high: int) -> bool:
        return bool(madvise(low, high - low, _MADV_COLLAPSE) == 0)

    try:
        moved = [_moved(low, high, collapse) for low, high in _regions()]
    except OSError:
        return False
    return any(moved)


def _moved(low: int, high: int, collapse: Callable[[int, int], bool]) -> bool:
    """Whether any part was moved. One busy page ends the call for all that follows it: then it goes part by part.

    Every tenth round of sessions had parts left behind by a single call, and those sessions were 3 to 6 % slower.
    """
    if collapse(low, high):
        return True
    left = list(range(low, high, _HUGE))
    for _ in range(_TRIES):
        left = [part for part in left if not collapse(part, part + _HUGE)]
    return len(left) < (high - low) // _HUGE


def _regions() -> Iterator[tuple[int, int]]:
    """Writable memory of no file, cut to whole huge pages: first address and the one behind the last."""
    for line in _MAPS.read_text().splitlines():
        if match := _WRITABLE.match(line):
            low, high = -(-int(match[1], 16) // _HUGE) * _HUGE, int(match[2], 16) // _HUGE * _HUGE
            if high > low:
                yield low, high
