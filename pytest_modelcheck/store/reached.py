"""What a case uses: modules of the user's that it reaches by imports, and the distributions behind the others."""

from __future__ import annotations

import ast
import functools
import importlib.util
import sys
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_modelcheck.store.describe import STOP
from pytest_modelcheck.store.folder import file_digest
from pytest_modelcheck.store.installed import is_library, owners, with_requirements

EXPORTING = ("torch", "onnx", "onnx-ir", "onnxscript", "numpy")
CORE = {*sys.stdlib_module_names, "torch", "torchgen", "functorch", "numpy", "onnx", "onnx_ir", "onnxscript"}
CORE |= {"onnxruntime", "ml_dtypes", "sympy", "mpmath", "networkx", "google", "triton"}
"""Libraries that no model is made of: of their state only switches, plain values and replaced functions count."""


def top(module: str) -> str:
    return module.partition(".")[0]


@dataclass(slots=True)
class Reached:
    """Attributes:
    modules: Names of the modules that count, of whatever origin.
    files: File of the user's -> the module among them that it is.
    distributions: What the others belong to, with everything that it requires.
    """

    modules: set[str] = field(default_factory=set)
    files: dict[str, str] = field(default_factory=dict)
    distributions: set[str] = field(default_factory=set)


def reached(roots: Iterable[str]) -> Reached:
    """What the modules `roots` reach: the user's by the imports in their files, and what names are bound to."""
    found = Reached()
    pending, bound = list(roots), set[str]()
    while pending:
        name = pending.pop()
        module = sys.modules.get(name)
        if module is None or name in found.modules or top(name) in STOP:
            continue
        found.modules.add(name)
        file = getattr(module, "__file__", None)
        if file is None and hasattr(module, "__path__"):
            continue  # a namespace package: no code
        if name != "__main__" and not is_users(module):
            if top(name) not in CORE:
                bound |= {top(other) for other in _bound(module)}
                pending += [value.__name__ for value in vars(module).values() if _is_package_module(value)]
            bound.add(top(name))
            continue
        file = file or f"<{name}>"  # made by an import hook: known by what its names are bound to
        found.files[file] = name
        names, computed = _imports(Path(file)) if file.endswith(".py") else ((), False)
        package = getattr(module, "__package__", None) or ""
        pending += [loaded for relative in names for loaded in _loaded(relative, package)]
        pending += _bound(module) - {
            f"{name}.{part}" for part in vars(module)
        }  # a package binds all that is loaded of it
        if computed:  # importlib.import_module(some_variable): whatever is loaded may be meant
            pending += [other for other, loaded in list(sys.modules.items()) if is_users(loaded)]
        if not names and not computed:
            continue
        pending += _conftests(file)
    files = {str(getattr(sys.modules.get(name), "__file__", None)) for name in bound - STOP - {"builtins"}}
    owning = {owner for file in files for owner in owners(file)}
    found.distributions = with_requirements({*EXPORTING, *owning})
    return found


def _is_package_module(value: object) -> bool:
    return isinstance(value, types.ModuleType) and top(value.__name__) not in CORE


def is_users(module: Any) -> bool:
    """Whether a module is the user's; without a file, if that of its top package is."""
    name = getattr(module, "__name__", None)
    if not isinstance(name, str) or top(name) in CORE or name.startswith("_cython_"):
        return False  # what is in sys.modules need not be a module; Cython keeps its types in one without a file
    files = (getattr(each, "__file__", None) for each in (module, sys.modules.get(top(name))))
    file = next((each for each in files if isinstance(each, str)), None)
    return file is None or not is_library(file)


def _bound(module: types.ModuleType) -> set[str]:
    """The modules that the names of a module are bound to, or whose functions and classes they are."""
    names = {
        value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
        for value in list(vars(module).values())
        if isinstance(value, types.ModuleType | types.FunctionType | type)
    }
    return {name for name in names if isinstance(name, str)}


def _conftests(file: str) -> Iterator[str]:
    """Loaded conftest modules beside or above a file: they may change what a model reads."""
    above = set(map(str, Path(file).parents))
    for name, module in list(sys.modules.items()):
        other = getattr(module, "__file__", None)
        if isinstance(other, str) and other.endswith("conftest.py") and str(Path(other).parent) in above:
            yield name


def _loaded(name: str, package: str) -> Iterator[str]:
    """The loaded modules that an import names: packages on the way included."""
    try:
        parts = importlib.util.resolve_name(name, package).split(".") if name.startswith(".") else name.split(".")
    except ImportError:
        return
    yield from (loaded for end in range(1, len(parts) + 1) if (loaded := ".".join(parts[:end])) in sys.modules)


def _imports(file: Path) -> tuple[tuple[str, ...], bool]:
    try:
        return _imports_of(file, file_digest(file))
    except (OSError, SyntaxError, ValueError):
        return (), True


@functools.lru_cache(maxsize=4096)
def _imports_of(file: Path, digest: str) -> tuple[tuple[str, ...], bool]:
    """Dotted names that a file imports (relative ones begin with dots), and whether it imports computed names."""
    names: list[str] = []
    computed = False
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = "." * node.level + (node.module or "")
            names += [start, *(f"{start}{'.' if node.module else ''}{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                names.append(first.value)
            else:
                computed = True
    return tuple(dict.fromkeys(names)), computed
