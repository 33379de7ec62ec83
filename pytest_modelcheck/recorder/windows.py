"""The windows of a case: while one is open, what is read and which code runs belongs to that case."""

from __future__ import annotations

import contextlib
import datetime
import gc
import os
import random
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from pytest_modelcheck.recorder.owners import is_installed, named, owner_of

_IMPORTLIB: Any = sys.modules["_frozen_importlib"]
_WITHOUT_RESULT = (f"{os.sep}logging{os.sep}__init__.py", f"{os.sep}tempfile.py")
"""The time of a log record and the name of a temporary file reach no result."""
_CLOCKS = "time time_ns perf_counter perf_counter_ns monotonic monotonic_ns localtime gmtime"
_UNREPEATABLE = {
    **{getattr(time, name): f"time.{name}()" for name in _CLOCKS.split()},
    **{getattr(datetime.datetime, name): f"datetime.{name}()" for name in ("now", "utcnow", "today")},
    datetime.date.today: "date.today()",
    **{getattr(os, name): f"os.{name}()" for name in ("urandom", "getpid", "getppid")},
    **dict.fromkeys((random.random, random.getrandbits), "the global random generator"),
}


@dataclass(slots=True, eq=False)
class Recording:
    """What happened in the windows of one case.

    Attributes:
        reads: ``(kind, name, owner)`` of every read; kinds are ``env``, ``file``, ``folder``, ``exists``, ``module``
            (one that was not found), ``distribution`` (whose metadata was asked for).
        ran: Code that ran -> name of its module.
        unrepeatable: Why the outcome may differ although everything that was read is the same.
    """

    reads: set[tuple[str, str, str]] = field(default_factory=set)
    ran: dict[CodeType, str] = field(default_factory=dict)
    unrepeatable: dict[str, None] = field(default_factory=dict)

    def note_unrepeatable(self, frame: FrameType, what: str) -> None:
        """Note that the outcome may differ, if it was the user's code that did it."""
        owner = owner_of(frame)
        if owner and not is_installed(owner) and not frame.f_code.co_filename.endswith(_WITHOUT_RESULT):
            self.unrepeatable[f"{named(owner)} uses {what}"] = None


installed = False
opened: list[Recording] = []
"""The recordings of the windows that are open, the innermost last."""

_recordings: weakref.WeakKeyDictionary[Any, Recording] = weakref.WeakKeyDictionary()


def recording_of(build: Any) -> Recording:
    """The recording of the cases that this `build` makes."""
    if not installed:
        return Recording(unrepeatable={"a second copy of the recorder was imported, which sees nothing": None})
    try:
        return _recordings.setdefault(build, Recording())
    except TypeError:  # neither hashable nor weakly referable: nothing is remembered, so nothing of it may be kept
        return Recording(unrepeatable={f"a build of type {type(build).__name__}, which cannot be told apart": None})


@contextlib.contextmanager
def window(build: Any, *, repeatable: bool = True) -> Iterator[None]:
    """Everything that is read and run meanwhile belongs to the cases of `build`.

    Args:
        repeatable: Whether the clock and global random numbers read by the user's code are a reason not to keep
            results. Not while building: what was built is compared itself.
    """
    if not installed or build is None:
        yield
        return
    recording, before = recording_of(build), sys.getprofile()
    foreign = before is not None and getattr(before, "__name__", "") != _profiler.__name__
    if foreign:
        recording.unrepeatable["another profiler is running: the code that ran was not seen"] = None
    opened.append(recording)
    collecting = gc.isenabled()
    gc.disable()  # finalizers and callbacks belong to whoever left the garbage
    try:
        if not foreign:
            sys.setprofile(_profiler(recording, repeatable))
        yield
    finally:
        if not foreign:
            sys.setprofile(before)
        if collecting:
            gc.enable()
        opened.pop()


def wrap_imports() -> None:
    """Let no window see what a module runs while it is imported: that is known by its source.

    To be called for every function and to ignore it made an import of transformers three times as long.
    """
    find_and_load = _IMPORTLIB._find_and_load

    def unseen(name: str, import_: Callable[..., Any]) -> Any:
        profiler = sys.getprofile()
        if getattr(profiler, "__name__", "") != _profiler.__name__:
            return find_and_load(name, import_)
        sys.setprofile(None)
        try:
            return find_and_load(name, import_)
        finally:
            sys.setprofile(profiler)

    # Python leaves the frames of this file out of tracebacks.
    unseen.__code__ = unseen.__code__.replace(co_filename=find_and_load.__code__.co_filename)
    _IMPORTLIB._find_and_load = unseen


def _profiler(recording: Recording, repeatable: bool) -> Callable[[FrameType, str, Any], None]:
    ran = recording.ran

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            if frame.f_code not in ran:
                ran[frame.f_code] = frame.f_globals.get("__name__") or ""
        elif event == "c_call" and repeatable and argument in _UNREPEATABLE:
            recording.note_unrepeatable(frame, _UNREPEATABLE[argument])

    profile.__name__ = _profiler.__name__
    return profile
