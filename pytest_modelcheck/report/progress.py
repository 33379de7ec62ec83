"""Saying what takes so long, where somebody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from pytest_modelcheck.result import printable_line


def line_progress(stream: TextIO | None = None) -> Callable[[str], None]:
    """A function that shows one line on a terminal, overwriting the one before; an empty text clears it."""
    out = stream or sys.__stderr__ or sys.stderr  # pytest replaces sys.stderr while it captures
    width = 0

    def show(text: str) -> None:
        nonlocal width
        text = printable_line(text)
        out.write("\r" + text.ljust(width) + ("\r" if not text else ""))
        out.flush()
        width = len(text)

    return show


def plain_progress(
    write: Callable[[str], None], every: float = 30.0, clock: Callable[[], float] = time.monotonic
) -> Callable[[str], None]:
    """A function that writes a line of its own at most every so many seconds: a CI log shows that the run is alive."""
    last = clock()

    def show(text: str) -> None:
        nonlocal last
        if text and clock() - last >= every:
            last = clock()
            write(printable_line(text))

    return show


def no_progress(text: str) -> None:
    """Show nothing."""
