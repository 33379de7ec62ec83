"""A limit on the seconds that an exporter may take."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator


class TimeLimitError(BaseException):
    """The time is up. Not an `Exception`: torch's exporter catches those and tries its next strategy."""


@contextlib.contextmanager
def at_most(seconds: float | None) -> Iterator[None]:
    """Interrupt the block after so many seconds; a timer that ran before (pytest-timeout's) goes on afterwards.

    Outside the main thread, and where the system has no such signal, the block is not interrupted.

    Raises:
        TimeLimitError: in the block.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGALRM"):
        yield
        return

    def expired(*_: object) -> None:
        raise TimeLimitError

    handler, started = signal.signal(signal.SIGALRM, expired), time.monotonic()
    before, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if before:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, before - (time.monotonic() - started)))
