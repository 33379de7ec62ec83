"""Installed distributions: which one owns a file, what it requires, and one text for its exact content.

By the RECORD that every installer writes (PEP 376, PEP 627). A file that no RECORD beside it lists belongs to the user:
editable and development installs, and packages that were copied by hand. Paths are never resolved: an installer may lay
packages as symbolic links (uv's ``--link-mode=symlink``), and they are installed all the same.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import glob
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from pytest_modelcheck.recorder.reads import real_stat
from pytest_modelcheck.store.folder import file_digest

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_STDLIB = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib")})
_FILES = ("METADATA", "RECORD", "direct_url.json")
_TOPS = re.compile(r'^"?([^/,"\n]+).*\n?(?:"?\1/.*\n?)*', re.MULTILINE)
"""What a RECORD's lines begin with, once for all lines below one folder: torch's has 14,600."""
_REQUIRES = re.compile(r"^Requires-Dist: *([\w.-]+)([^\n]*)", re.MULTILINE)


@functools.cache
def owners(path: str) -> tuple[str, ...]:
    """Names of the distributions that list a file; several where an upgrade left the old one's records behind."""
    folder, top = os.path.split(path)
    if lists := _listed(folder):
        return tuple(sorted({name for name, tops in lists if top in tops}))
    return owners(folder) if folder != path else ()


@functools.cache
def is_library(file: str) -> bool:
    """Whether `file` belongs to the standard library, an installed package, this package, or to no file at all."""
    if file.startswith("<") or file.startswith(_PACKAGE):
        return True
    path = os.path.abspath(file)
    return bool(owners(path)) or (path.startswith(_STDLIB) and "-packages" + os.sep not in path)


@functools.cache
def _listed(folder: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """Distribution and the top-level names that its RECORD lists, for each one installed into `folder`."""
    return tuple((_name(info), frozenset(_TOPS.findall(_text(info / "RECORD")))) for info in _infos(folder))


@functools.cache
def _infos(folder: str) -> tuple[Path, ...]:
    return tuple(Path(folder, name) for name in sorted(glob.glob("*.dist-info", root_dir=folder))) if folder else ()


def _text(file: Path) -> str:
    return file.read_text("utf-8", errors="replace") if file.is_file() else ""


def _name(info: Path) -> str:
    return canonical(info.stem.rpartition("-")[0])


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def _folders(name: str, path: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(info for entry in dict.fromkeys(path) for info in _infos(entry) if _name(info) == name)


def content(name: str) -> str:
    """Versions of a distribution, and a digest of what its installers wrote: equal for the same files."""
    folders = _folders(name, tuple(sys.path))
    versions = "+".join(info.stem.rpartition("-")[2] for info in folders)
    digests = [file_digest(info / file)[:12] for info in folders for file in _FILES if (info / file).is_file()]
    return f"{versions} {' '.join(digests)}" if folders else "not installed"


def with_requirements(names: Iterable[str]) -> set[str]:
    """The distributions and everything installed that they require, transitively; optional extras left out."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found and (folders := _folders(name, tuple(sys.path))):
            found.add(name)
            required = (each for info in folders for each in _REQUIRES.findall(_text(info / "METADATA")))
            pending += [canonical(name) for name, rest in required if "extra ==" not in rest]
    return found


def edited(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Loaded files of distributions that differ from what the installer recorded, by name, with their digests.

    Only files younger than their RECORD are read.
    """
    records = {
        name: [(info, at) for info in _folders(name, tuple(sys.path)) if (at := _written(info / "RECORD"))]
        for name in names
    }
    for file in _loaded_files():
        for info, recorded in (each for name in owners(file) for each in records.get(name, ())):
            root = f"{info.parent}{os.sep}"
            if file.startswith(root) and _written(file) > recorded:
                name, digest = file.removeprefix(root).replace(os.sep, "/"), file_digest(Path(file))
                if _recorded(info / "RECORD").get(name) != digest:
                    yield name, digest


def can_be_found(module: str) -> bool:
    """Without importing a package that is not loaded."""
    with contextlib.suppress(Exception):  # somebody's finder
        return module in sys.modules or _spec(module) is not None
    return False


def _spec(module: str) -> ModuleSpec | None:
    parent = module.rpartition(".")[0]
    if not parent or parent in sys.modules:
        return importlib.util.find_spec(module)
    package = _spec(parent)
    return package and PathFinder.find_spec(module, package.submodule_search_locations or [])


def _written(file: str | Path) -> int:
    """When a file was written last; 0 where there is none."""
    try:
        return real_stat(file).st_mtime_ns
    except OSError:
        return 0


def _loaded_files() -> list[str]:
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return [file if os.path.isabs(file) else os.path.abspath(file) for file in files if isinstance(file, str)]


@functools.cache
def _recorded(record: Path) -> dict[str, str]:
    """File -> its SHA-256 in hexadecimal, by a RECORD (which has it in base64)."""
    lines = re.findall(r'^"?([^,"\n]+)"?,sha256=([\w-]+),', _text(record), re.MULTILINE)
    return {name: base64.urlsafe_b64decode(f"{digest}==").hex() for name, digest in lines}
