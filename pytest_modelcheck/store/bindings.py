"""The state of a process that code may read by name: globals of modules, attributes of classes, torch's switches."""

from __future__ import annotations

import functools
import io
import logging
import os
import re
import sys
import threading
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch.onnx import _flags
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from pytest_modelcheck.recorder import kernels
from pytest_modelcheck.store.describe import STOP, Describer, plain_text
from pytest_modelcheck.store.installed import is_library
from pytest_modelcheck.store.reached import CORE, is_users, top

_DUNDERS = """module doc dict weakref slots annotations qualname parameters orig_bases dataclass_params dataclass_fields
name file loader spec package builtins cached path warningregistry"""
_CLASSES = (torch.Tensor, torch.nn.Module)
_SWITCH = re.compile(
    r"_(get|is)_\w*(enabled|allow|determinis|precision|sdp|mkldnn|cudnn|nnpack|benchmark|fastpath)\w*"
    r"|get_default_dtype|is_(anomaly|inference_mode)_enabled"
)
_LIBRARY_DEPTH = 4
_CONFIGS = ("torch.fx.experimental._config", "torch._dynamo.config", "torch._functorch.config", "torch._export.config")
_EXPORTERS = re.compile(r"(torch\.(onnx|export|_export|fx|jit)|onnxscript|onnx_ir|onnx)(\..*)?")
_CALLABLE = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    type,
)
_REPLACES = (*_CALLABLE, functools.partial, np.ufunc)
_WITHOUT_CONTENT = (
    *(type(threading.Lock()), type(threading.RLock()), logging.Logger, io.IOBase, type(os.environ)),
    *(types.GetSetDescriptorType, types.MemberDescriptorType),
)
"""Globals of these types say nothing about a result; what is read of the environment, the recorder sees."""
_CLASS = re.compile(r"<class '(\w+\.[\w.<>]+)'>")
_TAGS_GENERATIONS = "torch._dynamo.mutation_guard"
"""Wraps the constructor of modules when the first trace of a process begins, and changes no module: an export by a run
that had traced before was never the export of one that had not."""
_MADE_BY_PYTHON = {"_abc_impl", *(f"__{name}__" for name in _DUNDERS.split())}


def names_in(code: types.CodeType) -> frozenset[str]:
    """Every name that code, or a function inside it, may read: attributes and texts included, as in getattr()."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= names_in(constant)
        elif isinstance(constant, str) and constant.isidentifier():
            found.add(constant)
    return frozenset(found)


def named_modules(roots: Iterable[str], names: Iterable[str]) -> set[str]:
    """The modules `roots`, and those that one of these names is bound to in one of them, or in those, and so on."""
    found, read = set[str](), set(names)
    pending = ["builtins", *roots, *(name for name in read if name[:1] != "_" and is_users(sys.modules.get(name)))]
    while pending:
        name = pending.pop()
        if name in found or top(name) in STOP or (module := sys.modules.get(name)) is None:
            continue
        found.add(name)
        held = vars(module)
        pending += [held[name].__name__ for name in read & held.keys() if type(held[name]) is types.ModuleType]
    return found


def bindings(
    modules: Iterable[str], names: Iterable[str], classes: Iterable[type], *, all_of_users: bool = False
) -> tuple[dict[str, str], dict[str, str]]:
    """What names are bound to in modules and classes, unless it is what their own source defines.

    Args:
        names: Those that count; in classes of the user's, all do.
        all_of_users: Whether all do in modules of the user's, too: before code has run nobody knows which it reads.

    Returns:
        ``"module:name"`` -> text, and the same -> why there is none.
    """
    texts: dict[str, str] = {}
    unknown: dict[str, str] = {}
    places: list[tuple[str, Any]] = [(name, sys.modules[name]) for name in modules if name in sys.modules]
    places += [(kind.__module__, kind) for kind in dict.fromkeys([*_CLASSES, *classes])]
    given, read = {id(place) for _, place in places}, set(names)
    known = set(given)
    of_case = read | {kind.__name__ for kind in classes}

    def of_another_case(key: Any) -> bool:
        """Whether a key is a class that the case does not have, or its text: libraries register what they build."""
        found = _CLASS.fullmatch(str(key)) if isinstance(key, str | type) else None
        return found is not None and top(found[1]) not in CORE and found[1].rpartition(".")[2] not in of_case

    for home, place in places:  # which grow: by the classes that names are bound to, and those of objects
        users, is_class = is_users(sys.modules.get(home)), isinstance(place, type)
        prefix = f"{place.__qualname__}." if is_class else ""
        held = dict(vars(place))
        chosen = set(held) if users and (is_class or all_of_users) else held.keys() & read
        chosen |= {name for name in held if is_class and name.startswith("__")}  # x * 2 names no __mul__
        for name in sorted(chosen - _MADE_BY_PYTHON):
            value, path = held[name], f"{home}:{prefix}{name}"
            kind = type(value)
            shown = _REPLACES if name.startswith("_") else (*_REPLACES, bool, int, float)
            # One for each: no text may refer to another name's value.
            depth = 1 if is_class else _LIBRARY_DEPTH
            describer = Describer() if users else Describer(depth, of_another_case)
            if issubclass(kind, type):
                describer.see_class(value)
            without_content = issubclass(kind, _WITHOUT_CONTENT) or (not users and issubclass(kind, threading.local))
            if without_content or _is_own(home, prefix + name, value, users):
                pass
            elif users or top(home) not in CORE or issubclass(kind, shown) or top(str(kind.__module__)) not in CORE:
                # Others are what such a library fills when it is first needed.
                describer.describe(path, value)
                texts |= describer.texts
                unknown |= describer.unknown if users and (id(place) in given or name in read) else {}
            for found in describer.classes:
                if id(found) not in known and top(found.__module__) not in CORE | STOP:
                    known.add(id(found))
                    places.append((found.__module__, found))
    return texts, unknown


def _is_own(home: str, qualified: str, value: Any, users: bool) -> bool:
    """Whether a name is bound to the submodule, function or class that the source of `home` binds to it.

    Functions of the user's are described all the same: their defaults can be set.
    """
    name = qualified.rpartition(".")[2]
    kind = type(value)  # an attribute of torch.ops or torch.classes is looked up in C++, others warn
    if issubclass(kind, types.ModuleType):
        return str(value.__name__).rpartition(".")[2] == name
    if kind in (staticmethod, classmethod):
        value, kind = value.__func__, type(value.__func__)
    if not issubclass(kind, _CALLABLE) or (users and kind is types.FunctionType):
        return False
    where = getattr(value, "__module__", None)
    where = where if isinstance(where, str) else home
    return (
        where == _TAGS_GENERATIONS
        or (where == home and value.__qualname__ == qualified)
        or ({top(where), top(home)} <= CORE and value.__name__ == name and "." not in qualified)
    )


def switches() -> tuple[dict[str, str], dict[str, str]]:
    """Global state of torch that a trace, a translation or a kernel reads."""
    describer = Describer(_LIBRARY_DEPTH)
    hooks = {
        name: list(value.values())
        for name, value in vars(torch.nn.modules.module).items()
        if name.startswith("_global_") and isinstance(value, dict) and value
    }
    values: dict[str, Any] = {
        "default device": torch.get_default_device(),
        "cuda": torch.cuda.is_available(),
        "mha fastpath": torch.backends.mha.get_fastpath_enabled(),
        "function modes": _get_current_function_mode_stack(),  # type: ignore[no-untyped-call]
        "dispatch modes": _get_current_dispatch_mode_stack(),
        **hooks,
        **{name: _called(getattr(torch._C, name)) for name in dir(torch._C) if _SWITCH.fullmatch(name)},
        **{name.lower(): value for name, value in vars(_flags).items() if name.isupper()},
        **{f"kernel {name}": kernel for name, kernel in kernels.registered.items()},
        **_replaced(),
        **_configured(),
        "optimized python": sys.flags.optimize,
    }
    for name, value in values.items():
        describer.describe(f":{name}", value)
    return describer.texts, describer.unknown


def _configured() -> dict[str, Any]:
    """Flags of torch's tracers that somebody set, and not to their default."""
    return {
        f"{module.__name__}.{flag}": value
        for module in filter(None, map(sys.modules.get, _CONFIGS))
        for flag, value in module._get_dict(skip_default=True).items()
        if value != module._config[flag].default
    }


def _replaced() -> dict[str, types.FunctionType]:
    """Functions and methods of the exporters that somebody else's file defines."""
    found = {}
    for name, module in sorted(sys.modules.items()):
        if not _EXPORTERS.fullmatch(name) or module is None:
            continue
        classes = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == name]
        for place in (module, *classes):
            for label, value in vars(place).items():
                value = value.__func__ if isinstance(value, staticmethod | classmethod) else value
                if type(value) is types.FunctionType and not is_library(value.__code__.co_filename):
                    found[f"replaced {name}:{getattr(place, '__qualname__', '')}.{label}"] = value
    return found


def _called(getter: Callable[[], Any]) -> Any:
    try:
        return plain_text(getter())
    except (TypeError, RuntimeError):
        return None
