"""What this process reads from outside, noted while it happens: the raw material of a manifest.

Environment variables (`os.environ` in every form), opened files, listed folders, existence checks. Each read has its
owner, the nearest source file outside the standard library, so that a read at import time belongs to the file that was
imported. While a window of a case is open (building, drawing inputs, a forward), every read belongs to that case, and
so does the code that runs. Installed only in runs with model checks; loads nothing but the standard library.
"""

import os
import sys

from pytest_modelcheck.recorder import kernels, owners, reads, windows

__all__ = ["install", "kernels", "owners", "reads", "windows"]


def install(root: str | None = None) -> None:
    """Begin to record, once per process; it cannot be taken back.

    Args:
        root: The project's folder, where it is not the current one.
    """
    owners.root = root or owners.root
    if windows.installed or hasattr(os.stat, "recorded_by"):
        return  # by this module; or by a copy of it that was imported before, and this one sees nothing
    windows.installed = True
    windows.wrap_imports()
    reads.wrap_environment()
    reads.wrap_exists()
    reads.wrap_finders()
    kernels.wrap_torch()
    sys.addaudithook(_audit)


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event == "import":
        kernels.wrap_torch()
    elif event in reads.EVENTS:  # of all others nothing is asked: sys._getframe() is an event, too
        reads.note_event(event, arguments, sys._getframe(1))
