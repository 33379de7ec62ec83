"""What is read from outside: environment variables, files, folders, whether something exists."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from pytest_modelcheck.recorder import owners, windows
from pytest_modelcheck.recorder.owners import TORCH, is_importing, is_installed, named, owner_of

_SOURCE_READERS = ("linecache.py", "tokenize.py", "inspect.py")
_STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.connect"}
EVENTS = {"open", "os.listdir", "os.scandir", "sqlite3.connect", "ctypes.dlopen", "os.mkdir", "os.rename", *_STARTS}
"""The audit events that `note_event` takes."""


@dataclass(slots=True)
class Read:
    """One thing that was read: its state at the first read, and who read it."""

    first: str
    owners: set[str] = field(default_factory=set)


seen: dict[tuple[str, str], Read] = {}
"""Kind and name -> the read, of all that this process has read."""
written: set[str] = set()
"""Files that this process wrote and folders that it made: what it reads there it has computed."""
set_by_torch: set[str] = set()
"""Environment variables that torch sets itself, once it has exported something: what decides is what it found."""

_busy = False


def _note(kind: str, name: str, state: Callable[[], str], frame: FrameType | None, **how: Any) -> None:
    global _busy
    owner = owner_of(frame, **how)
    if not owner or _busy:
        return
    if not (windows.opened or not is_installed(owner) or is_importing(frame)):
        return  # what a library reads elsewhere says nothing about a model, but by the state that it leaves
    key = (kind, name)
    read = seen.get(key)
    if read is None:
        _busy = True
        try:
            read = seen[key] = Read(state())
        finally:
            _busy = False
    read.owners.add(owner)
    for recording in windows.opened:
        recording.reads.add((kind, name, owner))


def environment_text(value: str | bytes | None) -> str:
    """A digest: a value may be a secret."""
    if value is None:
        return "unset"
    data = value if isinstance(value, bytes) else value.encode(errors="surrogateescape")
    return f"set ({hashlib.sha256(data).hexdigest()[:12]})"


def before(place: Any, name: str, note: Callable[..., None], bound: Callable[[Any], Any] = lambda made: made) -> Any:
    """Let `note` see the arguments of each call of a function, after the frame that calls it.

    Args:
        place: The module or class that has it; None where it is not loaded.
        bound: `staticmethod`, where it is one of a class or is bound to it.
    """
    real = getattr(place, name, None)
    if real is None or hasattr(real, "recorded_by"):
        return None

    @functools.wraps(real)
    def recorded(*args: Any, **options: Any) -> Any:
        note(sys._getframe(1), *args, **options)
        return real(*args, **options)

    recorded.recorded_by = __name__  # type: ignore[attr-defined]  # so that it is wrapped once
    setattr(place, name, bound(recorded))
    return recorded


def wrap_environment() -> None:
    """Note what is read from `os.environ`, in every form: all of them end in these methods."""
    data, encode = os.environ._data, os.environ.encodekey  # type: ignore[attr-defined]  # CPython's own fields

    def read(frame: FrameType, environ: Any, key: Any) -> None:
        name = os.fsdecode(key) if isinstance(key, bytes) else key
        if isinstance(name, str):
            _note("env", name, lambda: environment_text(data.get(encode(name))), frame)

    def write(frame: FrameType, environ: Any, key: Any, value: Any) -> None:
        (set_by_torch.add if TORCH in (owner_of(frame) or "") else set_by_torch.discard)(key)

    before(type(os.environ), "__getitem__", read)
    before(type(os.environ), "__setitem__", write)
    before(type(os.environ), "__iter__", lambda frame, environ: _note("env", "*", lambda: "", frame))


# -- files ------------------------------------------------------------------------------------------------------------


def file_state(path: str) -> str:
    """What a file is, without reading it: enough to see that it was changed meanwhile."""
    try:
        found = real_stat(path)
    except (OSError, ValueError):
        return "missing"
    return f"{found.st_size} bytes, {found.st_mtime_ns}"


def kind_of_path(path: str) -> str:
    """``missing``, ``folder``, or ``file`` with its size; of a symbolic link also where it leads."""
    link = ""
    with contextlib.suppress(OSError, ValueError):
        link = f"link to {named(real_readlink(path))}: "
    try:
        found = real_stat(path)
        return link + ("folder" if stat.S_ISDIR(found.st_mode) else f"file of {found.st_size} bytes")
    except (OSError, ValueError):
        return f"{link}missing"


real_stat, real_readlink = os.stat, os.readlink
_START_FOLDER = os.getcwd()


def _path_of(given: Any) -> str | None:
    """An absolute path; relative to the folder the process began in, if it still works there: ``./name``."""
    try:
        path = os.fsdecode(os.fspath(given))
    except TypeError:
        return None  # a file descriptor
    if os.path.isabs(path):
        return path
    folder = os.getcwd()
    return os.path.join("." if folder == _START_FOLDER else folder, path)


def note_file(frame: FrameType, given: Any, *args: Any, **options: Any) -> None:
    """Note that a file is read, by something that Python does not see."""
    if (path := _path_of(given)) is not None:
        _note_file(path, frame)


def note_event(event: str, arguments: tuple[Any, ...], frame: FrameType) -> None:
    """Note a read, a write, or the start of something that cannot be followed, by an audit event of Python."""
    if event == "open":
        _note_open(arguments, frame)
    elif event in ("os.listdir", "os.scandir"):
        if (path := _path_of(arguments[0] if arguments and arguments[0] is not None else ".")) is not None:
            _note("folder", path, lambda: "", frame)
    elif event in ("sqlite3.connect", "ctypes.dlopen"):
        if arguments and arguments[0] and (path := _path_of(arguments[0])) is not None and os.sep in path:
            _note_file(path, frame, through=TORCH)  # torch.ops.load_library()
    elif event in ("os.mkdir", "os.rename"):
        if (path := _path_of(arguments[event == "os.rename"])) is not None:
            written.add(os.path.abspath(path))
    else:
        for recording in windows.opened:
            recording.note_unrepeatable(frame, event.removeprefix("os."))


def _note_open(arguments: tuple[Any, ...], frame: FrameType) -> None:
    path = _path_of(arguments[0])
    if path is None or "\0" in path:
        return
    flags = arguments[2] if len(arguments) > 2 and isinstance(arguments[2], int) else 0
    read_first = flags & os.O_RDWR and not flags & os.O_TRUNC and not kind_of_path(path).endswith(("folder", "missing"))
    if flags & (os.O_WRONLY | os.O_RDWR) and not read_first:
        written.add(os.path.abspath(path))
        return
    _note_file(path, frame, finders=path.endswith((".py", ".pyc")))


def _note_file(path: str, frame: FrameType, **how: Any) -> None:
    for_tracebacks = path.endswith(".py") and frame.f_code.co_filename.endswith(_SOURCE_READERS)
    if not for_tracebacks and os.path.abspath(path) not in written and not path.startswith(("/proc/", "/dev/")):
        _note("file", path, lambda: file_state(path), frame, **how)


class _Last:
    """The last finder of all: what it is asked for is not there."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        _note("module", name, lambda: "", sys._getframe(1), finders=False)


def wrap_finders() -> None:
    """Note modules that were not found, and distributions whose version or metadata was asked for."""
    sys.meta_path.append(_Last)
    before(importlib.metadata.Distribution, "from_name", _note_distribution, bound=staticmethod)


def _note_distribution(frame: FrameType, name: str) -> None:
    _note("distribution", name, lambda: "", frame, finders=False)


def wrap_exists() -> None:
    """`os.path.exists` and its kind raise no audit event; all of them end in these functions."""
    for name in ("stat", "access", "lstat", "readlink"):
        real, wrapped = getattr(os, name), before(os, name, _note_exists)
        for supported in (os.supports_dir_fd, os.supports_fd, os.supports_effective_ids, os.supports_follow_symlinks):
            if real in supported:
                supported.add(wrapped)


def _note_exists(frame: FrameType, path: Any, *args: Any, **options: Any) -> None:
    resolves = frame.f_code.co_name in ("realpath", "_joinrealpath")  # each folder on the way: only links lead on
    given = None if isinstance(path, int) else _path_of(path)
    # Folders that the project lies in are others in each checkout.
    if given is None or f"{owners.root}{os.sep}".startswith(f"{os.path.abspath(given)}{os.sep}"):
        return
    if not resolves or kind_of_path(given).startswith("link"):
        _note("exists", given, lambda: kind_of_path(given), frame)
