"""Any Python value as texts that are equal in two runs exactly when the value is: what verifies the state in memory.

What cannot be described that way is collected, never guessed: an address or a default `repr` would make two runs look
different, a skipped attribute would make two models look equal.
"""

from __future__ import annotations

import contextlib
import copyreg
import enum
import functools
import inspect
import logging
import operator
import pathlib
import threading
import types
import weakref
from collections.abc import Callable, Iterator, Mapping, MappingView
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from pytest_modelcheck.recorder.owners import named
from pytest_modelcheck.store.digests import digest, large_digest, shortened
from pytest_modelcheck.store.installed import is_library

_PLAIN: tuple[type, ...] = (
    *(bool, int, float, complex, range, slice, type(None), type(Ellipsis), type(NotImplemented)),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
)
_NAMED = (types.ModuleType, logging.Logger, torch._ops.OpOverload, torch._ops.OpOverloadPacket, torch.library.Library)
"""Nothing of these but their name reaches a result; of a library, the kernels are recorded."""
_WRAPPERS = (
    *(functools.cached_property, functools._lru_cache_wrapper, staticmethod, classmethod, property, types.MethodType),
)
_WRAPPED = ("func", "fget", "fset", "__func__", "__self__", "__wrapped__")
_MODULE_INTERNALS = {"_parameters", "_buffers", "_modules", "training", "_compiled_call_impl"}
_OF_THIS_PROCESS = {"_original_object_hash", "_torchdynamo_wrapper_id"}
"""transformers' generation configs keep their own ``hash()``, to see whether they were modified; functions that dynamo
wrapped keep the ``id()`` of what wraps them."""
STOP = {"pytest", "_pytest", "pluggy", "iniconfig", "syrupy", "pytest_modelcheck", "xdist", "execnet"}
"""Where the search for what a case uses ends: what runs the tests takes no part in a result."""
_MAX_TEXTS = 200_000
_LARGE_BYTES = 1 << 20

_threads = ThreadPoolExecutor(thread_name_prefix="modelcheck-digest")


class Describer:
    """Walks values and writes one text per leaf.

    Args:
        depth: How deep library objects are looked into; what lies deeper is described by its type.
        leaves_out: Whether this key of a dict, or member of a set, says nothing.

    Attributes:
        texts: Path of a leaf, e.g. ``"model.encoder.config.hidden_act"`` -> its text; long texts are digests.
        unknown: Path -> why its value has no text that two runs share.
        classes: Every class of an instance that was met, bases included.
        modules: Names of the modules of functions and classes that were met.
    """

    def __init__(self, depth: int = 1000, leaves_out: Callable[[Any], bool] = lambda key: False) -> None:
        self.texts: dict[str, str] = {}
        self.unknown: dict[str, str] = {}
        self.classes: dict[type, None] = {}
        self.modules: set[str] = set()
        self._depth = depth
        self._leaves_out = leaves_out
        self._hashed: dict[str, tuple[str, Future[str]]] = {}
        # Objects are looked up by address, but no address reaches a text, and each object is held, so that none is
        # freed and its address used again.
        self._met: dict[int, tuple[Any, str]] = {}

    def describe(self, path: str, value: Any) -> None:
        """Describe `value` under `path`, whatever its attributes do when they are looked at."""
        try:
            self._visit(path, value, 0)
        except RecursionError:
            self.unknown[path] = "nested too deeply"
        for place, (head, hashed) in self._hashed.items():
            self.texts[place] = f"{head} {hashed.result()}"
        self._hashed.clear()

    def _visit(self, path: str, value: Any, depth: int) -> None:
        if len(self.texts) > _MAX_TEXTS:
            self.unknown.setdefault(path, f"more than {_MAX_TEXTS} values")
        elif (text := plain_text(value)) is not None:
            self.texts[path] = text
        elif isinstance(value, type):
            self.texts[path] = f"class {qualified_name(value)}"
            self.see_class(value)
        elif (earlier := self._met.get(id(value))) is not None:
            self.texts[path] = f"= {earlier[1]}"
        else:
            self._met[id(value)] = (value, path)
            try:
                for name, part in self._parts(path, value, depth):
                    self._visit(f"{path}{name}", part, depth + 1)
            except RecursionError:
                raise
            except Exception as error:  # a user's own __len__, items, __getattr__, ...
                self.unknown[path] = f"a {type(value).__name__} that raises {type(error).__name__} when it is read"

    def _parts(self, path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
        """Write the text of an object itself; what it is made of, by name."""
        kind = type(value)
        self.texts[path] = qualified_name(kind)
        if isinstance(value, torch.Tensor):
            self._tensor(path, value)
        elif isinstance(value, types.FunctionType):
            yield from self._function(path, value)
        elif isinstance(value, threading.local):
            yield from _attributes(value)
        elif isinstance(value, _NAMED):
            self.texts[path] += f" {getattr(value, '__name__', None) or getattr(value, 'name', value)}"
        elif isinstance(value, _WRAPPERS):
            yield from ((f".{name}", getattr(value, name)) for name in _WRAPPED if hasattr(value, name))
        elif depth > self._depth or str(kind.__module__).partition(".")[0] in STOP:
            pass
        else:
            self.see_class(kind)
            if isinstance(value, torch.nn.Module):
                yield from _module_parts(value)
            elif isinstance(value, set | frozenset):
                members = [item for item in value if not self._leaves_out(item)]
                texts = [qualified_name(item) if isinstance(item, type) else plain_text(item) for item in members]
                if None in texts:
                    self.unknown[path] = "a set whose members have no text to sort by"
                self.texts[path] += f" {shortened(', '.join(sorted(map(str, texts))))}"
            elif isinstance(value, dict | types.MappingProxyType):
                # Past an items() of its own: transformers' registries would import every model.
                pairs = dict.items(value) if isinstance(value, dict) else value.items()
                items = [(key, item) for key, item in pairs if not self._leaves_out(key)]
                self.texts[path] += f" of {len(items)}"
                for number, (key, item) in enumerate(items):
                    text = key if isinstance(key, str) else plain_text(key)
                    if text is None:
                        yield f"[{number}].key", key
                    yield f"[{number}]" if text is None else f".{text}", item
                yield from _attributes(value)
            elif isinstance(value, list | tuple | MappingView | weakref.ref):
                members = [value()] if isinstance(value, weakref.ref) else [*value]  # type: ignore[misc]  # a weak set or dict
                self.texts[path] += f" of {len(members)}"
                yield from ((f"[{number}]", item) for number, item in enumerate(members))
                yield from _attributes(value)
            else:
                yield from self._opaque(path, value)

    def _opaque(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        """Attributes; of what lies in C, all that it takes to make a copy."""
        attributes = [*_attributes(value)]  # first: this look makes the __dict__ that a partial reduces to
        kind = type(value)
        built_in = next(base for base in kind.__mro__ if not base.__flags__ & _HEAP_TYPE)
        if built_in is not object or kind.__basicsize__ > 32 + 8 * len(_slots(kind)):
            try:
                made_of: Any = copyreg.dispatch_table.get(kind, _REDUCED)(value)
            except Exception:  # whatever a __reduce_ex__ of somebody raises, its content is not known
                self.unknown[path] = f"a {qualified_name(kind)}, whose content cannot be compared between runs"
                return
            if isinstance(made_of, str):
                self.texts[path] += f" {getattr(value, '__module__', None)}.{made_of}"
                return
            parts = [list(part) if isinstance(part, Iterator) else part for part in made_of]
            yield from ((f".<{number}>", part) for number, part in enumerate(parts))
        yield from attributes

    def see_class(self, kind: type) -> None:
        """Note a class with all that it inherits from, and its metaclass."""
        for base in (*inspect.getmro(kind), *inspect.getmro(type(kind))):
            if isinstance(base.__module__, str):  # a metaclass of Cython's has a descriptor there, and no source
                self.classes[base] = None
                self.modules.add(base.__module__)

    def _tensor(self, path: str, tensor: torch.Tensor) -> None:
        plain = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.layout is torch.strided
        if not plain or tensor.is_quantized or tensor.is_meta:
            self.unknown[path] = f"a tensor without plain storage ({type(tensor).__name__}, {tensor.layout})"
            return
        flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
        notes = "" if tensor.is_contiguous() else f" strides {tuple(tensor.stride())}"
        notes += "" if tensor.device.type == "cpu" else f" on {tensor.device.type}"
        head = f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}{notes}"
        self._hash(path, head, flat.view(torch.uint8).numpy() if flat.numel() else np.empty(0, np.uint8))

    def _hash(self, path: str, head: str, data: np.ndarray[Any, Any]) -> None:
        """Large ones on all cores: hashing releases the interpreter."""
        if data.nbytes < _LARGE_BYTES:
            self.texts[path] = f"{head} {digest(data)}"
        else:
            self._hashed[path] = head, _threads.submit(large_digest, data.view(np.uint8))

    def _function(self, path: str, function: types.FunctionType) -> Iterator[tuple[str, Any]]:
        """Of a user's function its bytecode, too; a library's is known by its distribution. Neither lines nor files."""
        code = function.__code__
        self.modules.add(function.__module__)
        users = not is_library(code.co_filename) or code.co_filename.startswith("<")
        self.texts[path] = f"function {function.__module__}.{function.__qualname__}"
        self.texts[path] += f" {code_digest(code)}" if users else ""
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        parts = {".defaults": function.__defaults__, ".kwdefaults": function.__kwdefaults__}
        for name, cell in cells:
            with contextlib.suppress(ValueError):  # declared, not assigned yet
                parts[f".closure.{name}"] = cell.cell_contents
        yield from ((name, part) for name, part in parts.items() if part is not None)
        yield from _attributes(function)


_REDUCED = operator.methodcaller("__reduce_ex__", 4)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, or by C in its likeness


def _module_parts(module: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    """All but `training`: a model is exported in eval mode."""
    yield from ((f".{name}", tensor) for name, tensor in (*module._parameters.items(), *module._buffers.items()))
    for name, value in sorted(vars(module).items()):
        if name not in _MODULE_INTERNALS and ("_hooks" not in name or value):
            # The key of a hook is a running number of the process.
            yield f".{name}", list(value.values()) if "_hooks" in name and isinstance(value, Mapping) else value
    if module._modules:
        yield ".<children>", list(module._modules)
    yield from ((f".{name}", child) for name, child in module._modules.items())


def plain_text(value: Any) -> str | None:
    """The text of a plain value (a number, a string, a tuple or list of such, ...); None for everything else.

    A subclass of int or str counts by its name, too: it may behave differently. Paths of the project are named.
    """
    kind = type(value)
    if kind is str:
        return shortened(repr(named(value)))
    if kind in _PLAIN or isinstance(value, np.generic | np.dtype):
        return repr(value)
    if kind in (bytes, bytearray):
        return f"{kind.__name__} of {len(value)}: {digest(bytes(value))}"
    if isinstance(value, enum.Enum):
        return f"{qualified_name(kind)}.{value.name}"
    if isinstance(value, pathlib.PurePath):
        return f"path {named(str(value))!r}"
    if kind in (tuple, list) or kind is torch.Size:
        texts = [plain_text(item) for item in value] if len(value) < 10_000 else [None]
        brackets = "[]" if kind is list else "()"
        return None if None in texts else shortened(f"{brackets[0]}{', '.join(map(str, texts))}{brackets[1]}")
    return None


def qualified_name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def code_digest(code: types.CodeType) -> str:
    """Instructions, names and constants; neither file name nor line numbers."""
    constants = [code_digest(item) if isinstance(item, types.CodeType) else plain_text(item) for item in code.co_consts]
    names = (code.co_name, *code.co_names, *code.co_varnames, *code.co_freevars, *code.co_cellvars)
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    return digest(code.co_code + repr((counts, names, constants)).encode())


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    for name, item in sorted(getattr(value, "__dict__", {}).items()):
        if name not in _OF_THIS_PROCESS:
            yield f".{name}", item
    for name in _slots(type(value)):
        if hasattr(value, name):
            yield f".{name}", getattr(value, name)


def _slots(kind: type) -> tuple[str, ...]:
    slots = [base.__dict__.get("__slots__", ()) for base in kind.__mro__]
    names = {name for each in slots for name in ([each] if isinstance(each, str) else each)}
    return tuple(sorted(names - {"__dict__", "__weakref__"}))
