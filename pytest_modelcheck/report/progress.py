"""Saying what takes so long: a line that is overwritten on a terminal, one now and then in a log."""

from __future__ import annotations

import io
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from typing import TextIO

from pytest_modelcheck.result import printable_line

Show = Callable[[str], None]
"""Shows what is being done, in a few words; the empty text: nothing is."""


class Progress:
    """What is being done, shown when it begins and each second that it lasts, with its seconds.

    Args:
        show: `line_progress` or `plain_progress`; called by one thread at a time.
        close: Called at the end.
        every: Seconds between two calls while a step lasts; 0 for a progress that only `tick` drives.
        clock: Seconds.
    """

    def __init__(
        self,
        show: Show,
        close: Callable[[], None] = lambda: None,
        every: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._show, self._close, self._clock = show, close, clock
        self._text, self._since, self._every = "", clock(), every
        self._lock, self._ended = threading.Lock(), threading.Event()
        if every:
            threading.Thread(target=self._run, args=(every,), name="modelcheck-progress", daemon=True).start()

    def __call__(self, text: str) -> None:
        with self._lock:
            self._text, self._since = text, self._clock()
            self._show(text)

    def follow(self, text: str, since: float) -> None:
        """Make `text` the step, begun at `since` of the clock; shown once it has lasted for a second, so that the many
        short tests of workers write nothing."""
        with self._lock:
            if text != self._text:
                self._show("")
            self._text, self._since = text, since

    def tick(self) -> None:
        """Show the step again, with how long it has lasted."""
        with self._lock:
            lasted = self._clock() - self._since
            if self._text and lasted >= self._every and not self._ended.is_set():
                self._show(f"{self._text} {lasted:.0f} s")

    def close(self) -> None:
        """Show nothing more."""
        with self._lock:
            self._ended.set()
            self._close()

    def _run(self, every: float) -> None:
        while not self._ended.wait(every):
            self.tick()


def progress_of(stream: TextIO, *, terminal: bool) -> Progress:
    """The progress of a run whose output goes to `stream`.

    Args:
        stream: Of a run that captures nothing at the moment: what it is connected to is kept, because a thread that
            suspends pytest's capturing would let the output of the test through.
        terminal: Whether somebody watches.
    """
    out = _kept_open(stream)
    close = out.close if out is not stream else lambda: None
    return Progress(line_progress(out) if terminal else plain_progress(_lines(out)), close)


def _kept_open(stream: TextIO) -> TextIO:
    try:
        return open(os.dup(stream.fileno()), "w", encoding="utf-8", errors="backslashreplace")
    except (OSError, ValueError, AttributeError):  # io.UnsupportedOperation: it is connected to no file
        return stream


def _lines(out: TextIO) -> Show:
    def write(text: str) -> None:
        out.write(f"\n{text}\n")  # pytest may be amid a line of dots
        out.flush()

    return write


def line_progress(stream: TextIO | None = None) -> Show:
    """A function that shows one line on a terminal, overwriting the one before; an empty text clears it."""
    out = stream or sys.__stderr__ or io.StringIO()
    width = 0

    def show(text: str) -> None:
        nonlocal width
        text = printable_line(text)[: shutil.get_terminal_size().columns - 1]  # "\r" does not go back a second line
        if text or width:  # else the cursor stays where it is: pytest may be amid a line of dots
            out.write("\r" + text.ljust(width) + ("\r" if not text else ""))
            out.flush()
        width = len(text)

    return show


def plain_progress(write: Show, every: float = 30.0, clock: Callable[[], float] = time.monotonic) -> Show:
    """A function that writes a line of its own at most every so many seconds: a CI log shows that the run is alive."""
    last = clock()

    def show(text: str) -> None:
        nonlocal last
        if text and clock() - last >= every:
            last = clock()
            write(printable_line(text))

    return show
