"""Files of the store: one owner at a time, finished before they are seen, removed when their owner has died."""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from filelock import FileLock, Timeout

_POLL_SECONDS = 0.02


@contextlib.contextmanager
def gate(root: Path) -> Iterator[Path]:
    """Hold the store for a moment, for moving entries to their place and for removing things; the folder ``.busy``."""
    busy = root / ".busy"
    if not busy.is_dir():
        busy.mkdir(parents=True, exist_ok=True)
        (root / ".gitignore").write_text("*\n")
    with FileLock(busy / "gate.lock"):
        yield busy


@contextlib.contextmanager
def claimed(root: Path, name: str) -> Iterator[Path]:
    """The only one to make `name`, with a scratch folder for it; waits while another process or thread makes it.

    The operating system frees the lock when its holder ends, however it ends.

    Raises:
        OSError: if the folder cannot be used.
    """
    with contextlib.ExitStack() as stack:
        while True:
            with gate(root) as busy:  # else a lock file could be removed between its opening and its locking
                try:
                    stack.enter_context(lock := FileLock(busy / f"{name}.lock", blocking=False))
                    break
                except Timeout:
                    pass
            time.sleep(_POLL_SECONDS)
        scratch = busy / name
        stack.callback(_give_back, root, scratch, lock)
        remove(scratch)
        scratch.mkdir()
        yield scratch


def _give_back(root: Path, scratch: Path, lock: FileLock) -> None:
    with contextlib.suppress(OSError), gate(root):
        remove(scratch)
        lock.release()
        remove(Path(lock.lock_file))


@functools.cache
def clean(root: Path) -> None:
    """Remove what processes left that were killed; once per process.

    That is: scratch folders and locks that nobody holds, and parts of entries whose .json was never written.
    """
    if not (root / ".busy").is_dir():
        return
    with contextlib.suppress(OSError), gate(root) as busy:
        held = {path.stem for path in busy.glob("*.lock") if path.stem != "gate" and not _is_free(path)}
        for path in busy.iterdir():
            if path.name not in {"gate.lock", *held, *(f"{name}.lock" for name in held)}:
                remove(path)
        for folder in (root, *(path for path in root.iterdir() if path.is_dir() and _NAME.match(path.name))):
            for path in folder.iterdir() if folder.is_dir() else ():
                found = _NAME.match(path.name)
                if found and lock_name(folder, found[2]) not in held and (found[1] or not _has_json(path)):
                    remove(path)


_NAME = re.compile(r"(\.?)(\w+-[0-9a-f]{24})")
"""What the store names; a dot before it is a file that is being written."""


def lock_name(folder: Path, stem: str) -> str:
    """The name under which an entry of `folder` is claimed."""
    return f"{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}-{stem}"


def _has_json(path: Path) -> bool:
    return path.with_name(f"{path.name.partition('.')[0]}.json").is_file()


def _is_free(lock_file: Path) -> bool:
    try:
        with FileLock(lock_file, blocking=False):
            return True
    except Timeout:
        return False


def remove(path: Path) -> None:
    """Remove a file, link or folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@functools.lru_cache(maxsize=4096)
def _digest(file: Path, state: tuple[int, ...]) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_digest(file: Path) -> str:
    """SHA-256 of a file's content, hexadecimal; read once per process while its state is the same."""
    return _digest(file, tuple(file_state(file)))


def file_state(file: Path) -> list[int]:
    """What changes with a file's content, as git's index knows it: size, times, inode."""
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


_at_exit = contextlib.ExitStack()
atexit.register(_at_exit.close)


def until_exit(claim: AbstractContextManager[object]) -> None:
    """Hold a claim as long as the process lives."""
    _at_exit.enter_context(claim)


def temporary_folder() -> Path:
    """A new folder that lives as long as the process; where the process is killed, the next one removes it."""
    user = os.getuid() if hasattr(os, "getuid") else ""
    root = Path(tempfile.gettempdir()) / f"modelcheck-{user}"
    clean(root)
    return _at_exit.enter_context(claimed(root, secrets.token_hex(8)))
