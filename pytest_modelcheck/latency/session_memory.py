"""What onnxruntime itself needs: how much this process grows at most while a session opens and runs once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.runtimes.freed_memory import return_freed_memory

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets the peak resident set size to the current one


class PeakUnknownError(ModelCheckError):
    """A system on which a process cannot ask for its own peak."""


def peak_growth(run: Callable[[], object]) -> int:
    """Bytes by which the resident set of this process grows at most while `run` runs.

    Memory that was freed before and not given back to the system would be used again unseen, so it is given back first.
    Other threads of the process count, too. A figure of the allocator: it repeats within a few percent, not exactly.
    `run` is called twice, and the larger figure counts: what somebody else frees meanwhile hides as much.

    Raises:
        PeakUnknownError: where there is no Linux proc file system with a peak that can be reset.
    """
    return max(_growth(run), _growth(run))


def _growth(run: Callable[[], object]) -> int:
    return_freed_memory()
    try:
        _RESET.write_text(_RESET_PEAK)
        before = _bytes("VmRSS")
        run()
        return max(0, _bytes("VmHWM") - before)
    except OSError as error:
        raise PeakUnknownError(f"the peak of a session is read from {_STATUS} on Linux: {error}") from error


def _bytes(field: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise PeakUnknownError(f"{_STATUS} has no {field}")
