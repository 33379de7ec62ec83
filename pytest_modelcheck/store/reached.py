"""What a case uses: modules of the user's that it reaches by imports, and the distributions behind the others."""

from __future__ import annotations

import ast
import functools
import sys
import types
from collections.abc import Iterable
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


def reached(roots: Iterable[str]) -> tuple[dict[str, str], set[str]]:
    """What the modules `roots` reach: the user's by the imports in their files, and what names are bound to.

    Returns:
        File of the user's -> the module that it is; the distributions of the other modules, with what they require.
    """
    found, files, libraries, pending = set[str](), dict[str, str](), set[str](), list(roots)
    loaded = {name: name.split(".") for name in list(sys.modules)}
    users = [name for name in loaded if is_users(sys.modules.get(name))]
    # A conftest beside or above a file may change what a model reads.
    conftests = {name: Path(str(sys.modules[name].__file__)).parent for name in users if name.endswith("conftest")}
    while pending:
        name = pending.pop()
        module = sys.modules.get(name)
        if module is None or name in found or top(name) in STOP:
            continue
        found.add(name)
        if name != "__main__" and not is_users(module):
            libraries |= {top(name)} if top(name) in CORE else {name, *_bound(module)}
            continue
        file = getattr(module, "__file__", None) or f"<{name}>"  # made by an import hook, or a folder without code
        files[file] = name
        words = _words(Path(file)) if file.endswith(".py") else frozenset()
        pending += [name.rpartition(".")[0], *_bound(module)]
        pending += [other for other in users if words is None or loaded[other][-1] in words]
        pending += [other for other, parts in loaded.items() if words and words.issuperset(parts)]
        pending += [other for other, folder in conftests.items() if folder in Path(file).parents]
    of = {str(getattr(sys.modules.get(name), "__file__", None)) for name in libraries if top(name) not in STOP}
    return files, with_requirements({*EXPORTING, *(owner for file in of for owner in owners(file))})


def is_users(module: Any) -> bool:
    """Whether a module is the user's; without a file, if that of its top package is."""
    name = getattr(module, "__name__", None)
    if not isinstance(name, str) or top(name) in CORE or name.startswith("_cython_"):
        return False  # what is in sys.modules need not be a module; Cython keeps its types in one without a file
    files = (getattr(each, "__file__", None) for each in (module, sys.modules.get(top(name))))
    file = next((each for each in files if isinstance(each, str)), None)
    return file is None or not is_library(file)


def _bound(module: types.ModuleType) -> set[str]:
    """The modules that the names of a module are bound to, or whose functions and classes they are; not its own."""
    names = {
        value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
        for value in list(vars(module).values())
        if isinstance(value, types.ModuleType | types.FunctionType | type)
    }
    return {name for name in names if isinstance(name, str) and not name.startswith(f"{module.__name__}.")}


def _words(file: Path) -> frozenset[str] | None:
    """The words in the import statements of a file; None where it may import anything."""
    try:
        return _words_of(file, file_digest(file))
    except (OSError, SyntaxError, ValueError):
        return None


@functools.lru_cache(maxsize=4096)
def _words_of(file: Path, digest: str) -> frozenset[str] | None:
    text = file.read_bytes()
    if b"import_module" in text or b"__import__" in text:
        return None
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [getattr(node, "module", None) or "" for node in imports]
    names += [imported.name for node in imports for imported in node.names]
    return frozenset(word for name in names for word in name.split("."))
