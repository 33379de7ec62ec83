"""Who reads: the nearest source file of a stack; and how its path is named in every checkout."""

from __future__ import annotations

import functools
import os
import sysconfig
from types import FrameType

root = os.getcwd()
"""The project: paths below it are named relative to it, so that another checkout is the same project."""

_STDLIB = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})
_HERE = os.path.dirname(__file__) + os.sep
_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
_FINDERS = ("pkgutil.py", f"importlib{os.sep}metadata{os.sep}__init__.py")


def named(path: str) -> str:
    """`path` below the project as ``{root}/...``; one elsewhere is unchanged."""
    return path.replace(root, "{root}") if len(root) > 1 else path


def located(name: str) -> str:
    """The path that `named` gave this name."""
    return name.replace("{root}", root)


def is_installed(file: str) -> bool:
    """Whether a path looks like one of an installed package: cheap, by the name of its folders."""
    return f"{os.sep}site-packages{os.sep}" in file or f"{os.sep}dist-packages{os.sep}" in file


TORCH = f"-packages{os.sep}torch{os.sep}"


def owner_of(frame: FrameType | None, through: str = "\0", *, finders: bool = True) -> str | None:
    """The nearest source file outside the standard library and this room; None or "" where nobody owns the read.

    Args:
        through: Files with this in their path do not count either.
        finders: Whether nobody owns what Python reads itself while it looks for source files.
    """
    while frame is not None:
        file = _classified(frame.f_code.co_filename)
        if file is not False and (finders or file is not None) and not (file and through in str(file)):
            return file  # type: ignore[return-value]  # False was left out above
        frame = frame.f_back
    return None


def is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported somewhere below."""
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


@functools.cache
def _classified(file: str) -> str | bool | None:
    """The file itself where it may own a read, False where its caller does, None for Python's finders, "" for us."""
    in_library = file.startswith(_STDLIB) and not is_installed(file)
    if file.startswith("<frozen importlib") or (in_library and file.endswith(_FINDERS)):
        return None
    if in_library or file.startswith(("<", _HERE)) or f"{os.sep}filelock{os.sep}" in file:
        return False  # what a lock or a text that is executed reads belongs to whoever locks or executes
    return "" if file.startswith(_PACKAGE) else file  # what this package reads itself is nobody's
