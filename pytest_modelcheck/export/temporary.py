"""Folders that live as long as the process, and are removed also where it ended without a chance to."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "modelcheck-"


def temporary_folder() -> Path:
    """A new folder for one export that no cache keeps.

    A process that is killed leaves its folders behind (pytest-xdist ends its workers without their exit handlers): they
    carry its number, and the next process that needs one removes those whose process is gone.
    """
    _remove_folders_of_ended_processes()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _remove_folders_of_ended_processes() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        number = folder.name.removeprefix(_PREFIX).split("-")[0]
        if number.isdecimal() and os.name == "posix" and not _runs(int(number)):
            with contextlib.suppress(OSError):  # another process removes it at the same time, or it is another user's
                shutil.rmtree(folder)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
