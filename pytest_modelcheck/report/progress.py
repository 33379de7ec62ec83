"""Saying what takes so long, where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO


def line_progress(stream: TextIO | None = None) -> Callable[[str], None]:
    """A function that shows one line on a terminal, overwriting the one before; an empty text clears it."""
    out = stream or sys.stderr
    width = 0

    def show(text: str) -> None:
        nonlocal width
        out.write("\r" + text.ljust(width) + ("\r" if not text else ""))
        out.flush()
        width = len(text)

    return show


def no_progress(text: str) -> None:
    """Show nothing."""
