"""Any Python value as text that is equal in two runs exactly when the value is: the raw material of the export key.

What cannot be described that way is collected, never guessed: an address or a default `repr` would make two runs look
different, a skipped attribute would make two models look equal.
"""

from __future__ import annotations

import collections
import logging
import pathlib
import random
import types
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pytest_modelcheck.export.describe_code import see_class, visit_callable, visit_code
from pytest_modelcheck.export.plain_text import digest_bytes, plain_text, qualified_name, shortened

_MODULE_INTERNALS = {"_parameters", "_buffers", "_modules", "training", "_compiled_call_impl"}
_MAX_ENTRIES = 200_000
_OF_THIS_PROCESS = {"_original_object_hash"}
"""Attributes whose value no two processes share, and which stand for others that are described: the configurations of
transformers' generation keep their own ``hash()``, to see whether they were modified."""


class Describer:
    """Walks values and writes one entry per leaf.

    Attributes:
        entries: Path of a leaf, e.g. ``"encoder.config.hidden_act"`` -> its text; long texts are digests.
        files: Source files of every class and function that was met.
        classes: Every class that was met, bases included.
        undescribed: Path -> why its value has no text that two runs share.
    """

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}
        self.files: set[pathlib.Path] = set()
        self.classes: set[type] = set()
        self.undescribed: dict[str, str] = {}
        # Which object was met where. Objects are looked up by address, but no address reaches an entry, and each object
        # is held here, so that none is freed and its address used again.
        self._met: dict[int, tuple[Any, str]] = {}

    def describe(self, path: str, value: Any) -> None:
        """Describe `value` under `path`, whatever its attributes do when they are looked at."""
        try:
            self.visit(path, value)
        except RecursionError:
            self.undescribed[path] = "nested too deeply"

    def visit(self, path: str, value: Any) -> None:
        """Describe `value` under `path`; an object met before becomes a reference to where that was."""
        if len(self.entries) > _MAX_ENTRIES:
            self.undescribed.setdefault(path, f"more than {_MAX_ENTRIES} values")
        elif (text := plain_text(value)) is not None:
            self.entries[path] = text
        elif isinstance(value, types.CodeType):
            visit_code(self, path, value)
        elif isinstance(value, type):
            self.entries[path] = f"class {qualified_name(value)}"
            see_class(self, value)
        elif (earlier := self._met.get(id(value))) is not None:
            self.entries[path] = f"= {earlier[1]}"
        else:
            self._met[id(value)] = (value, path)
            try:
                self._visit_object(path, value)
            except RecursionError:
                raise
            except Exception as error:  # a user's own __len__, items, __getattr__, ...
                self.undescribed[path] = f"a {type(value).__name__} that raises {type(error).__name__} when it is read"

    def add_file(self, file: str | pathlib.Path | None) -> None:
        """Note a source file; what is not a file (``"<string>"``) is left out, the bytecode stands for it."""
        if file is not None and pathlib.Path(file).is_file():
            self.files.add(pathlib.Path(file))

    def _visit_object(self, path: str, value: Any) -> None:
        if isinstance(value, torch.nn.Module):
            self._visit_module(path, value)
        elif isinstance(value, torch.Tensor):
            self._visit_tensor(path, value)
        elif isinstance(value, np.ndarray):
            self._visit_array(path, value)
        elif visit_callable(self, path, value):
            pass
        elif isinstance(value, Mapping):
            self._visit_mapping(path, value)
        elif isinstance(value, set | frozenset):
            self._visit_set(path, value)
        elif isinstance(value, Sequence) and not isinstance(value, memoryview):
            self._visit_sequence(path, value)
        else:
            self._visit_other(path, value)

    # -- containers and instances -----------------------------------------------------------------------------------

    def _visit_mapping(self, path: str, value: Mapping[Any, Any]) -> None:
        self._begin_instance(path, value, f" of {len(value)}")
        for number, (key, item) in enumerate(value.items()):
            text = key if isinstance(key, str) else plain_text(key)
            if text is None:
                self.visit(f"{path}[{number}].key", key)
            self.visit(f"{path}[{number}]" if text is None else f"{path}.{text}", item)
        self._visit_attributes(path, value)

    def _visit_sequence(self, path: str, value: Sequence[Any]) -> None:
        self._begin_instance(path, value, f" of {len(value)}")
        for number, item in enumerate(value):
            self.visit(f"{path}[{number}]", item)
        self._visit_attributes(path, value)

    def _visit_set(self, path: str, value: set[Any] | frozenset[Any]) -> None:
        texts = [qualified_name(item) if isinstance(item, type) else plain_text(item) for item in value]
        for item in value:
            if isinstance(item, type):
                see_class(self, item)
        if None in texts:
            self.undescribed[path] = "a set whose members have no text to sort by"
        self._begin_instance(path, value, f" {shortened(', '.join(sorted(map(str, texts))))}")

    def _visit_other(self, path: str, value: Any) -> None:
        kind = type(value)
        if isinstance(value, types.ModuleType):
            self.entries[path] = f"module {value.__name__}"
            self.add_file(getattr(value, "__file__", None))
        elif isinstance(value, logging.Logger):
            self.entries[path] = f"logger {value.name}"
        elif isinstance(value, weakref.ref):
            self.visit(path, value())
        elif kind is _NAMED_FIELD:
            self.visit(path, value.__reduce__()[1])  # place and docstring: all that it is made of
        elif isinstance(value, torch.Generator):
            self.entries[path] = f"generator {digest_bytes(value.get_state().numpy())}"
        elif isinstance(value, random.Random):
            self.visit(path, value.getstate())
        elif isinstance(value, types.MappingProxyType) or kind in (
            type({}.keys()),
            type({}.values()),
            type({}.items()),
        ):
            self.visit(path, list(value))
        elif kind.__module__ in _OPAQUE_MODULES or not _has_attributes(value):
            self.undescribed[path] = f"a {qualified_name(kind)}, whose content cannot be compared between runs"
        else:
            self._begin_instance(path, value)
            self._visit_attributes(path, value)

    def _begin_instance(self, path: str, value: Any, suffix: str = "") -> None:
        self.entries[path] = qualified_name(type(value)) + suffix
        see_class(self, type(value))

    def _visit_attributes(self, path: str, value: Any) -> None:
        for name, item in sorted(getattr(value, "__dict__", {}).items()):
            if name not in _OF_THIS_PROCESS:
                self.visit(f"{path}.{name}", item)
        for name in _slots(type(value)):
            if hasattr(value, name):
                self.visit(f"{path}.{name}", getattr(value, name))

    # -- modules and tensors ----------------------------------------------------------------------------------------

    def _visit_module(self, path: str, module: torch.nn.Module) -> None:
        """Type, attributes, hooks, parameters, buffers and children.

        `training` is left out: a model is exported in eval mode.
        """
        if isinstance(module, torch.jit.ScriptModule):
            self.undescribed[path] = "a compiled ScriptModule"
            return
        self._begin_instance(path, module)
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            self.visit(f"{path}.{name}", tensor)
        for name, value in sorted(vars(module).items()):
            if name in _MODULE_INTERNALS:
                continue
            if "_hooks" in name and isinstance(value, Mapping):
                value = list(value.values())  # the key of a hook is a running number of the process
            if not ("_hooks" in name and not value):
                self.visit(f"{path}.{name}", value)
        if module._modules:
            self.entries[f"{path}.<children>"] = shortened(", ".join(module._modules))
        for name, child in module._modules.items():
            self.visit(f"{path}.{name}", child)

    def _visit_tensor(self, path: str, tensor: torch.Tensor) -> None:
        try:
            self.entries[path] = tensor_text(tensor)
        except (RuntimeError, NotImplementedError, TypeError) as error:
            self.undescribed[path] = f"a tensor without plain storage ({' '.join(str(error).split())[:80]})"

    def _visit_array(self, path: str, array: np.ndarray[Any, Any]) -> None:
        if array.dtype.hasobject:
            self.undescribed[path] = "an array of Python objects"
            return
        content = digest_bytes(np.ascontiguousarray(array).tobytes())
        self.entries[path] = f"array {array.dtype}{list(array.shape)} {content}"


_NAMED_FIELD = type(vars(collections.namedtuple("Named", "field"))["field"])
"""What stands for a field in the class of a named tuple: a type that Python gives no public name."""

_OPAQUE_MODULES = {"builtins", "_thread", "threading", "weakref", "_weakref", "_io", "socket"}


def _has_attributes(value: Any) -> bool:
    """Whether Python can see what an instance is made of: attributes in a dict or slots, or a class of plain Python."""
    kind = type(value)
    python_class = bool(kind.__flags__ & (1 << 9))  # Py_TPFLAGS_HEAPTYPE: made by a class statement
    return python_class and (hasattr(value, "__dict__") or bool(_slots(kind)) or kind.__basicsize__ <= 16)


def _slots(kind: type) -> tuple[str, ...]:
    names: list[str] = []
    for base in kind.__mro__:
        slots = base.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else list(slots)
    return tuple(sorted(set(names) - {"__dict__", "__weakref__"}))


def tensor_text(tensor: torch.Tensor) -> str:
    """``"float32[2, 3] <digest of the content>"``, the same for equal content in any process.

    Raises:
        TypeError: for a tensor subclass, and for sparse, quantized and meta tensors.
    """
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.layout is not torch.strided:
        raise TypeError(f"{type(tensor).__name__}, {tensor.layout}")
    if tensor.is_quantized or tensor.is_meta:
        raise TypeError("quantized" if tensor.is_quantized else "meta device")
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    content = plain.view(torch.uint8).numpy() if plain.numel() else np.empty(0, np.uint8)
    notes = "" if tensor.is_contiguous() else f" strides {tuple(tensor.stride())}"
    notes += "" if tensor.device.type == "cpu" else f" on {tensor.device.type}"
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}{notes} {digest_bytes(content)}"
