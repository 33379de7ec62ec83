"""Which source files a model is made of: the files that define it, and everything of the user's that they import.

Installed packages are told apart by their version; files outside them have none, so their content counts, and that of
every file that they import, wherever in the file the import is.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
OWN_FILES = (
    *sorted((_PACKAGE / "export").glob("*.py")),
    *sorted((_PACKAGE / "calling").glob("*.py")),
    *(_PACKAGE / name for name in ("model_case.py", "graph/files.py", "graph/validity.py")),
)
"""What of this package decides how an exported file comes out."""


@functools.cache
def is_library(file: str) -> bool:
    """Whether `file` belongs to the standard library, an installed package, this package, or to no file at all."""
    if file.startswith("<"):
        return True
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts) or path.is_relative_to(_PACKAGE):
        return True
    return any(path.is_relative_to(folder) for folder in _library_folders()) or any(
        path.relative_to(folder).parts[0] in _installed_in(folder)
        for folder in _import_folders(tuple(sys.path))
        if path.is_relative_to(folder)
    )


@functools.cache
def _import_folders(entries: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple({Path(entry).resolve() for entry in entries if Path(entry).is_dir()})


@functools.cache
def _installed_in(folder: Path) -> frozenset[str]:
    """Top-level names that an installer put into `folder` (``pip install --target``), by its records of them."""
    records = (line for file in folder.glob("*.dist-info/RECORD") for line in file.read_text("utf-8").splitlines())
    return frozenset(record.split(",")[0].split("/")[0] for record in records)


@functools.cache
def _library_folders() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    return tuple({Path(folder).resolve() for name in names if (folder := sysconfig.get_path(name))})


def source_file(kind: type) -> Path | None:
    """The file that defines a class; None where there is none (built in, typed into a shell)."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    return Path(file) if file else None


def with_imports(files: Iterable[Path]) -> tuple[set[Path], dict[str, str]]:
    """`files` and, for those that are the user's own, everything of the user's that they import, transitively.

    Returns:
        The files, and path -> reason for every file whose imports cannot be known.
    """
    found: set[Path] = set()
    unknown: dict[str, str] = {}
    pending = [file.resolve() for file in files]
    while pending:
        file = pending.pop()
        if file in found or not file.is_file():
            continue
        found.add(file)
        if file.suffix != ".py" or is_library(str(file)):
            continue
        imported = _imports(file.read_bytes())
        if imported is None:
            unknown[str(file)] = "a source file that cannot be parsed"
            continue
        names, computed = imported
        for name in names:
            pending += [other for other in _module_files(name, file) if not is_library(str(other))]
        if computed:  # importlib.import_module(some_variable): whatever is loaded may be meant
            pending += _loaded_user_files()
    return found, unknown


def conftests(files: Iterable[Path]) -> set[Path]:
    """The conftest.py files beside or above the user's files in their project: they may change what a model reads."""
    folders: set[Path] = set()
    for file in files:
        if is_library(str(file)):
            continue
        above = list(file.resolve().parents)
        root = next((number for number, folder in enumerate(above) if _is_project_root(folder)), 0)
        folders.update(above[: root + 1])
    return {file for folder in folders for file in _existing(folder / "conftest.py")}


@functools.lru_cache(maxsize=4096)
def _imports(source: bytes) -> tuple[tuple[str, ...], bool] | None:
    """Dotted names that a file imports (relative ones begin with dots), and whether it imports computed names."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    names: list[str] = []
    computed = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            separator = "" if not node.module else "."
            names += [start, *(f"{start}{separator}{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and _called_name(node.func) in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                names.append(first.value)
            else:
                computed = True
    return tuple(dict.fromkeys(names)), computed


def _called_name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _module_files(name: str, importer: Path) -> Iterator[Path]:
    """The files that importing `name` in `importer` runs, as far as they exist: packages on the way included."""
    level = len(name) - len(name.lstrip("."))
    parts = [part for part in name.lstrip(".").split(".") if part]
    if level:
        base = importer.parent
        for _ in range(level - 1):
            base = base.parent
        roots = [base]
        yield from _existing(base / "__init__.py")
    else:
        roots = [Path(entry or ".").resolve() for entry in sys.path]
    for end in range(1, len(parts) + 1):
        loaded = None if level else getattr(sys.modules.get(".".join(parts[:end])), "__file__", None)
        if loaded:
            yield Path(loaded).resolve()
            continue
        for root in roots:
            place = root.joinpath(*parts[:end])
            yield from _existing(place.with_suffix(".py"), place / "__init__.py")


def _existing(*paths: Path) -> Iterator[Path]:
    yield from (path.resolve() for path in paths if path.is_file())


def _loaded_user_files() -> list[Path]:
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    return [Path(file) for file in files if isinstance(file, str) and not is_library(file) and Path(file).is_file()]


def file_digests(files: Iterable[Path]) -> dict[str, str]:
    """Name of each file, the same in every checkout of the project -> digest of its content."""
    paths = sorted({file.resolve() for file in files})
    return {_file_name(path): hashlib.sha256(path.read_bytes()).hexdigest()[:32] for path in paths}


@functools.cache
def _file_name(path: Path) -> str:
    """The path below site-packages, the standard library or the project's root; absolute where it is below none."""
    parts = path.parts
    for folder in ("site-packages", "dist-packages"):
        if folder in parts:
            return "/".join(parts[len(parts) - parts[::-1].index(folder) :])
    for base in (*_library_folders(), *(parent for parent in path.parents if _is_project_root(parent))):
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return path.as_posix()


@functools.cache
def _is_project_root(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", ".git"))
