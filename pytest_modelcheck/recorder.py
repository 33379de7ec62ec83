"""What this process reads from outside, noted while it happens: the raw material of a manifest.

Environment variables (`os.environ` in every form), opened files, listed folders, existence checks. Each read has its
owner, the nearest source file outside the standard library, so that a read at import time belongs to the file that was
imported. While a window of a case is open (building, drawing inputs, a forward), every read belongs to that case, and
so does the code that runs. Installed only in runs with model checks; loads nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import hashlib
import os
import random
import stat
import sys
import sysconfig
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

_IMPORTS = sys.modules["_frozen_importlib"]._find_and_load.__code__
_STDLIB = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})
_HERE = (__file__, contextlib.__file__)
_LOCKS = f"{os.sep}filelock{os.sep}"
"""What a lock reads belongs to whoever locks: the store, for one, whose reads are nobody's."""
_FINDERS = ("pkgutil.py", f"importlib{os.sep}metadata{os.sep}__init__.py")
_SOURCE_READERS = ("linecache.py", "tokenize.py", "inspect.py")
_STARTS = {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn", "socket.connect"}
_UNREPEATABLE: dict[Any, str] = {
    time.time: "time.time()",
    time.time_ns: "time.time_ns()",
    os.urandom: "os.urandom()",
    datetime.datetime.now: "datetime.now()",
    datetime.datetime.utcnow: "datetime.utcnow()",
    random.random: "the global random generator",
    random.getrandbits: "the global random generator",
}


@dataclass(slots=True, eq=False)
class Recording:
    """What happened in the windows of one case.

    Attributes:
        reads: ``(kind, name)`` of every read; kinds are ``env``, ``file``, ``folder``, ``exists``.
        ran: Code that ran -> name of its module.
        unrepeatable: Why the outcome may differ although everything that was read is the same.
    """

    reads: set[tuple[str, str]] = field(default_factory=set)
    ran: dict[CodeType, str] = field(default_factory=dict)
    unrepeatable: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class Read:
    """One thing that was read: its state at the first read, and who read it."""

    first: str
    owners: set[str] = field(default_factory=set)


root = os.getcwd()
"""The project: paths below it are named relative to it, so that another checkout is the same project."""

reads: dict[tuple[str, str], Read] = {}
kernels: dict[str, Any] = {}
"""Operator and dispatch key -> the Python function that the user registered there by `torch.library`."""

_written: set[str] = set()
_windows: list[tuple[Recording, bool]] = []
_recordings: weakref.WeakKeyDictionary[Any, Recording] = weakref.WeakKeyDictionary()
_outside: dict[str, Any] = {}
_installed = False
_busy = False


def recording_of(build: Any) -> Recording:
    """The recording of the cases that this `build` makes."""
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
    if not _installed or build is None:
        yield
        return
    recording, before = recording_of(build), sys.getprofile()
    foreign = before is not None and getattr(before, "__name__", "") != _profiler.__name__
    if foreign:
        recording.unrepeatable["another profiler is running: the code that ran was not seen"] = None
    _windows.append((recording, repeatable))
    try:
        if not foreign:
            sys.setprofile(_profiler(recording, repeatable))
        yield
    finally:
        if not foreign:
            sys.setprofile(before)
        _windows.pop()


def _profiler(recording: Recording, repeatable: bool) -> Callable[[FrameType, str, Any], None]:
    ran, importing = recording.ran, 0

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal importing
        if frame.f_code is _IMPORTS and event in ("call", "return"):
            importing += 1 if event == "call" else -1
        elif importing:
            pass  # what a module runs while it is imported is known by its source
        elif event == "call":
            if frame.f_code not in ran:
                ran[frame.f_code] = frame.f_globals.get("__name__") or ""
        elif event == "c_call" and repeatable and argument in _UNREPEATABLE:
            owner = _owner(frame)
            if owner and not is_installed(owner):
                recording.unrepeatable[f"{named(owner)} uses {_UNREPEATABLE[argument]}"] = None

    profile.__name__ = _profiler.__name__
    return profile


def is_installed(file: str) -> bool:
    """Whether a path looks like one of an installed package: cheap, by the name of its folders."""
    return f"{os.sep}site-packages{os.sep}" in file or f"{os.sep}dist-packages{os.sep}" in file


def named(path: str) -> str:
    """`path` below the project as ``{root}/...``; another one as it is."""
    return path.replace(root, "{root}") if len(root) > 1 else path


def located(name: str) -> str:
    """The path that `named` gave this name."""
    return name.replace("{root}", root)


def environment_text(value: str | bytes | None) -> str:
    """A digest: a value may be a secret."""
    if value is None:
        return "unset"
    data = value if isinstance(value, bytes) else value.encode(errors="surrogateescape")
    return f"set ({hashlib.sha256(data).hexdigest()[:12]})"


def install() -> None:
    """Begin to record, once per process; it cannot be taken back."""
    global _installed
    if _installed or hasattr(
        os.stat, "recorded_by"
    ):  # by this module, or by one that was imported under its name before
        return
    _installed = True
    _wrap_environment()
    _wrap_exists()
    _wrap_library()
    sys.addaudithook(_audit)


def _owner(frame: FrameType | None, through: str = "\0") -> str | None:
    """The nearest source file outside the standard library and this module; None if Python looks for source files.

    Args:
        through: Files with this in their path do not count either.
    """
    while frame is not None:
        file = frame.f_code.co_filename
        outside = _outside.get(file)
        if outside is None:
            outside = _outside[file] = _classify(file)
        if outside is not False and not (outside and through in file):
            return outside  # type: ignore[return-value]
        frame = frame.f_back
    return None


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _classify(file: str) -> str | bool | None:
    """The file itself where it may own a read, False where its caller does, None where nobody does."""
    in_library = file.startswith(_STDLIB) and not is_installed(file)
    if file.startswith("<frozen importlib") or (in_library and file.endswith(_FINDERS)):
        return None
    return False if in_library or file.startswith("<frozen ") or file in _HERE or _LOCKS in file else file


def _note(kind: str, name: str, state: Callable[[], str], frame: FrameType | None) -> None:
    global _busy
    owner = _owner(frame)
    if owner is None or _busy or not (_windows or not is_installed(owner) or _is_importing(frame)):
        return  # what a library reads elsewhere says nothing about a model, but by the state that it leaves
    key = (kind, name)
    read = reads.get(key)
    if read is None:
        _busy = True
        try:
            read = reads[key] = Read(state())
        finally:
            _busy = False
    read.owners.add(owner)
    for recording, _ in _windows:
        recording.reads.add(key)


# -- environment variables --------------------------------------------------------------------------------------------


def _wrap_environment() -> None:
    kind = type(os.environ)
    get_item, iterate = kind.__getitem__, kind.__iter__
    data, encode = os.environ._data, os.environ.encodekey  # type: ignore[attr-defined]

    def read(environ: Any, key: Any) -> Any:
        name = os.fsdecode(key) if isinstance(key, bytes) else key
        if isinstance(name, str):
            _note("env", name, lambda: environment_text(data.get(encode(name))), sys._getframe(1))
        return get_item(environ, key)

    def iterate_all(environ: Any) -> Any:
        _note("env", "*", lambda: "", sys._getframe(1))
        return iterate(environ)

    kind.__getitem__ = read  # type: ignore[method-assign]
    kind.__iter__ = iterate_all  # type: ignore[method-assign]


# -- files ------------------------------------------------------------------------------------------------------------


def file_state(path: str) -> str:
    """What a file is, without reading it: enough to see that it was changed meanwhile."""
    try:
        found = _stat(path)
    except (OSError, ValueError):
        return "missing"
    return f"{found.st_size} bytes, {found.st_mtime_ns}"


def was_written(path: str) -> bool:
    """Whether this process wrote the file or made the folder itself: what it reads there it has computed."""
    return path in _written


def kind_of_path(path: str) -> str:
    """``missing``, ``folder`` or ``file``."""
    try:
        return "folder" if stat.S_ISDIR(_stat(path).st_mode) else "file"
    except (OSError, ValueError):
        return "missing"


_stat = real_stat = os.stat
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


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        _noted_open(arguments, sys._getframe(1))
    elif event in ("os.listdir", "os.scandir"):
        if (path := _path_of(arguments[0] if arguments and arguments[0] is not None else ".")) is not None:
            _note("folder", path, lambda: "", sys._getframe(1))
    elif event in ("sqlite3.connect", "ctypes.dlopen"):
        if arguments and arguments[0] and (path := _path_of(arguments[0])) is not None and os.sep in path:
            _note("file", path, functools.partial(file_state, path), sys._getframe(1))
    elif event == "import":
        _wrap_library()
    elif event in ("os.mkdir", "os.rename") and arguments:
        if (path := _path_of(arguments[event == "os.rename"])) is not None:
            _written.add(os.path.abspath(path))
    elif event in _STARTS and _windows:
        owner = _owner(sys._getframe(1))
        if owner is not None and not is_installed(owner):
            for recording, _ in _windows:
                recording.unrepeatable[f"{named(owner)} uses {event.removeprefix('os.')}"] = None


def _noted_open(arguments: tuple[Any, ...], frame: FrameType) -> None:
    path = _path_of(arguments[0])
    if path is None or "\0" in path:
        return
    flags = arguments[2] if len(arguments) > 2 and isinstance(arguments[2], int) else 0
    if flags & (os.O_WRONLY | os.O_RDWR):
        _written.add(os.path.abspath(path))
        return
    if path.endswith(".py") and frame.f_code.co_filename.endswith(_SOURCE_READERS):
        return  # for tracebacks
    if os.path.abspath(path) not in _written and not path.startswith(("/proc/", "/dev/")):
        _note("file", path, lambda: file_state(path), frame)


def _wrap_exists() -> None:
    """`os.path.exists` and its kind raise no audit event; all of them end in these functions."""
    for name in ("stat", "access"):
        _wrap_one(name, getattr(os, name))


def _wrap_one(name: str, real: Callable[..., Any]) -> None:
    def wrapped(path: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(path, int) and (given := _path_of(path)) is not None:
            _note("exists", given, lambda: kind_of_path(given), sys._getframe(1))
        return real(path, *args, **kwargs)

    wrapped.__name__ = wrapped.__qualname__ = name
    wrapped.recorded_by = __name__  # type: ignore[attr-defined]
    for supported in (os.supports_dir_fd, os.supports_fd, os.supports_effective_ids, os.supports_follow_symlinks):
        if real in supported:
            supported.add(wrapped)
    setattr(os, name, wrapped)


# -- kernels ----------------------------------------------------------------------------------------------------------


def _wrap_library() -> None:
    """Wrap `torch.library.Library.impl`, once torch has defined it: its dispatcher can name no Python function."""
    library = getattr(sys.modules.get("torch.library"), "Library", None)
    if library is None or library.impl.__name__ == "recorded_impl":
        return
    impl = library.impl

    def recorded_impl(self: Any, op_name: Any, fn: Any, dispatch_key: str = "", **options: Any) -> Any:
        owner = _owner(sys._getframe(1), through=f"-packages{os.sep}torch{os.sep}")
        if owner is not None and not is_installed(owner) and not owner.startswith(os.path.dirname(__file__)):
            name = op_name if isinstance(op_name, str) else getattr(op_name, "_qualified_op_name", str(op_name))
            kernels[f"{self.ns}::{name.rpartition('::')[2]} {dispatch_key or self.dispatch_key}"] = fn
        return impl(self, op_name, fn, dispatch_key, **options)

    library.impl = recorded_impl
