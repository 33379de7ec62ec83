"""Describing code for the export key: functions with what they close over, and classes with what they define.

Source files are part of the key anyway; this also sees what was exchanged at run time, and code that no file holds.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pytest_modelcheck.export.outside import outside_reads
from pytest_modelcheck.export.plain_text import digest_bytes, plain_text, qualified_name
from pytest_modelcheck.export.sources import is_library

Describer = Any  # `describe.Describer`, which uses this module

_BUILTIN: tuple[type, ...] = (
    *(types.BuiltinFunctionType, types.MethodWrapperType, types.MethodDescriptorType, types.WrapperDescriptorType),
    *(types.ClassMethodDescriptorType, np.ufunc, functools._lru_cache_wrapper),
)
_FOUNDATIONS = ("builtins", "abc", "typing", "enum", "collections", "collections.abc", "dataclasses")


def visit_callable(describer: Describer, path: str, value: Any) -> bool:
    """Describe a function, method, partial or operator; False for anything else."""
    entries, visit = describer.entries, describer.visit
    if isinstance(value, functools.partial):
        entries[path] = "partial"
        for label, part in (("func", value.func), ("args", value.args), ("keywords", value.keywords)):
            visit(f"{path}.{label}", part)
    elif isinstance(value, types.MethodType):
        entries[path] = "method"
        visit(f"{path}.function", value.__func__)
        visit(f"{path}.self", value.__self__)
    elif isinstance(value, types.FunctionType):
        _visit_function(describer, path, value)
    elif isinstance(value, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        entries[path] = f"operator {value}"
    elif isinstance(value, _BUILTIN):
        name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
        entries[path] = f"builtin {getattr(value, '__module__', None)}.{name}"
        owner = getattr(value, "__self__", None)
        if owner is not None and not isinstance(owner, types.ModuleType | type):
            visit(f"{path}.self", owner)
        if isinstance(value, functools._lru_cache_wrapper):
            visit(f"{path}.wrapped", value.__wrapped__)
    else:
        return False
    return True


def _visit_function(describer: Describer, path: str, function: types.FunctionType) -> None:
    """Bytecode, defaults, closure and attributes; of the user's functions also the globals that they read."""
    code = function.__code__
    describer.entries[path] = f"function {function.__module__}.{function.__qualname__}"
    describer.add_file(code.co_filename)
    describer.visit(f"{path}.code", code)
    for label, value in (("defaults", function.__defaults__), ("kwdefaults", function.__kwdefaults__)):
        if value:
            describer.visit(f"{path}.{label}", value)
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # declared, not assigned yet
            describer.entries[f"{path}.closure.{name}"] = "empty"
        else:
            describer.visit(f"{path}.closure.{name}", content)
    for name, value in sorted(vars(function).items()):
        describer.visit(f"{path}.{name}", value)
    if function.__module__ == "__main__" or not is_library(code.co_filename):
        _visit_globals(describer, path, function)
        _note_outside_reads(describer, path, code)


def _visit_globals(describer: Describer, path: str, function: types.FunctionType) -> None:
    """The globals that a function reads, and of modules (global, or imported inside it) the attributes it names."""
    names = _global_names(function.__code__)
    package = function.__globals__.get("__package__") or ""
    seen: set[int] = set()
    for name in sorted(names):
        value = function.__globals__.get(name)
        if name in function.__globals__:
            describer.visit(f"{path}.globals.{name}", value)
        for module in (value, sys.modules.get(name), sys.modules.get(f"{package}.{name}")):
            if isinstance(module, types.ModuleType):
                _visit_module_names(describer, f"{path}.globals.{name}", module, names, seen)


def _visit_module_names(
    describer: Describer, path: str, module: types.ModuleType, names: set[str], seen: set[int]
) -> None:
    """Values as they are now: a conftest may have set them. Of a library only what is replaced by a user's function."""
    if id(module) in seen:
        return
    seen.add(id(module))
    file = getattr(module, "__file__", None)
    library = not file or is_library(file)
    for name in sorted(names & vars(module).keys()):
        value = vars(module)[name]
        if isinstance(value, types.ModuleType):
            _visit_module_names(describer, f"{path}.{name}", value, names, seen)
        elif not name.startswith("__") and (not library or _is_users(value)):
            describer.visit(f"{path}.{name}", value)


def _is_users(value: Any) -> bool:
    return isinstance(value, types.FunctionType) and not is_library(value.__code__.co_filename)


def visit_replaced(describer: Describer) -> None:
    """Functions of torch that were replaced by ones from outside the installed packages."""
    for owner in (torch, torch.nn.functional, torch.nn.init, torch.Tensor):
        for name, value in sorted(vars(owner).items()):
            if _is_users(value) or isinstance(value, functools.partial):
                describer.visit(f"replaced {owner.__name__}.{name}", value)


def _note_outside_reads(describer: Describer, path: str, code: types.CodeType) -> None:
    """Environment variables by their present value, as a digest: it may be a secret. Other reads make no key.

    What only building the module or the inputs reads is seen in what was built.
    """
    reads = outside_reads(code)
    for name in reads.variables:
        value = os.environ.get(name)
        text = "unset" if value is None else f"set ({digest_bytes(value.encode(errors='surrogateescape'))[:12]})"
        describer.entries[f"environment variable {name}"] = text
    if reads.unknown and not path.startswith(("build", "inputs")) and code.co_name != "__init__":
        describer.undescribed[path] = "; ".join(reads.unknown)


def _global_names(code: types.CodeType) -> set[str]:
    """Every name that `code`, or a function inside it, may read as a global; attribute names and texts included."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_names(constant)
        elif isinstance(constant, str):  # getattr(settings, "FLAG")
            names.add(constant)
    return names


def visit_code(describer: Describer, path: str, code: types.CodeType) -> None:
    """Instructions, names and constants; neither file name nor line numbers."""
    describer.entries[path] = _code_digest(code)
    for number, constant in enumerate(code.co_consts):
        if plain_text(constant) is None and not isinstance(constant, types.CodeType):
            describer.visit(f"{path}.constants[{number}]", constant)


def _code_digest(code: types.CodeType) -> str:
    names = (code.co_name, *code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars)
    counts = f"{code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount} {code.co_flags}"
    constants = [
        _code_digest(item) if isinstance(item, types.CodeType) else plain_text(item) for item in code.co_consts
    ]
    return digest_bytes(code.co_code + repr((counts, names, constants)).encode())


def see_class(describer: Describer, kind: type) -> None:
    """Note `kind` and its bases: their files, the code of their methods, the values of their attributes.

    Of library classes only code and plain values: the rest is fixed by their version, which is part of the key.
    """
    for base in kind.__mro__:
        if base in describer.classes or base.__module__ in _FOUNDATIONS:
            continue
        describer.classes.add(base)
        file = getattr(sys.modules.get(base.__module__), "__file__", None)
        describer.add_file(file)
        library = base.__module__ != "__main__" and (file is None or is_library(file))
        for name, value in sorted(vars(base).items()):
            if library and file is not None and _is_added(base, name, value, file):
                continue
            _visit_class_attribute(describer, f"class {qualified_name(base)}.{name}", name, value, library)


def functions_digest(module: types.ModuleType) -> str:
    """One digest of the code of all functions that a module holds: a function exchanged at run time changes it."""
    digests = []
    for name, value in sorted(vars(module).items()):
        function = inspect.unwrap(value) if callable(value) and hasattr(value, "__wrapped__") else value
        if isinstance(function, types.FunctionType):
            digests.append((name, _code_digest(function.__code__)))
        elif isinstance(function, types.BuiltinFunctionType):
            digests.append((name, "builtin"))
    return digest_bytes(repr(digests).encode())


def _is_added(base: type, name: str, value: Any, file: str) -> bool:
    """Whether a library gave another library's class a method that it had not: transformers does so to `nn.Module`.

    Nothing calls such a method but the library that knows it, and it would make keys depend on what else is imported.
    A method that was there and is exchanged counts.
    """
    if not isinstance(value, types.FunctionType) or value.__code__.co_filename == file:
        return False
    return is_library(value.__code__.co_filename) and name not in _methods_in_source(file, base.__qualname__)


@functools.lru_cache(maxsize=1024)
def _methods_in_source(file: str, qualified: str) -> frozenset[str]:
    """Names that the body of a class assigns or defines."""
    body: list[ast.stmt] = ast.parse(Path(file).read_bytes()).body if file.endswith(".py") else []
    for part in qualified.split("."):
        found = [
            node for node in ast.walk(ast.Module(body, [])) if isinstance(node, ast.ClassDef) and node.name == part
        ]
        body = found[0].body if found else []
    names = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    names |= {
        target.id
        for node in ast.walk(ast.Module(body, []))
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    return frozenset(names)


def _visit_class_attribute(describer: Describer, path: str, name: str, value: Any, library: bool) -> None:
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    elif isinstance(value, functools.cached_property):
        value = value.func
    if isinstance(value, property):
        for label, function in (("get", value.fget), ("set", value.fset)):
            _visit_class_attribute(describer, f"{path}.{label}", label, function, library)
    elif isinstance(value, types.FunctionType):
        if library:
            describer.entries[path] = _code_digest(value.__code__)
        else:
            describer.visit(path, value)
    elif (
        name.startswith("__")
        or name == "_abc_impl"
        or isinstance(value, types.GetSetDescriptorType | types.MemberDescriptorType)
    ):
        return
    elif not library:
        describer.visit(path, value)
    elif (text := plain_text(value)) is not None:
        describer.entries[path] = text
