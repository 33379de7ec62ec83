"""Result objects as JSON, and back: dataclasses and enums of this package, and what they are made of.

Tagged, so that reading needs no type hints and gives exactly what was written: tuples stay tuples, NaN stays NaN. A
class of any other package is refused in both directions: a file on disk can name no code to run.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import operator
from typing import Any

from pytest_modelcheck.errors import ModelCheckError

_PACKAGE = __name__.partition(".")[0]
_COLLECTIONS: dict[str, type] = {"tuple": tuple, "frozenset": frozenset, "dict": dict}


class NotKeepableError(ModelCheckError):
    """A value has no faithful form in JSON, or a text is not what `encode` writes."""


def encode(value: Any) -> Any:
    """`value` as types that Python's json reads back; what JSON lacks as ``{type: content}``.

    Raises:
        NotKeepableError: for a value of a type that would not come back as it was.
    """
    kind = type(value)
    if isinstance(value, enum.Enum):
        return {_name(kind): value.name}
    if isinstance(value, float):
        return float(value)  # of numpy, too
    if value is None or kind in (bool, int, str):
        return value
    if kind is list:
        return [encode(item) for item in value]
    if kind in _COLLECTIONS.values():
        return {kind.__name__: [encode(item) for item in (value.items() if kind is dict else value)]}
    if dataclasses.is_dataclass(kind):
        fields = {item.name: encode(getattr(value, item.name)) for item in dataclasses.fields(kind) if item.init}
        return {_name(kind): fields}
    raise NotKeepableError(f"a {kind.__module__}.{kind.__qualname__} cannot be kept")


def decode(data: Any) -> Any:
    """What `encode` was given.

    Raises:
        NotKeepableError: if `data` was not written by `encode`, or its classes have changed since.
    """
    if isinstance(data, list):
        return [decode(item) for item in data]
    if not isinstance(data, dict):
        return data
    try:
        [(name, content)] = data.items()
        if name in _COLLECTIONS:
            return _COLLECTIONS[name](decode(content))
        kind: Any = _class(name)
        if not isinstance(content, dict):
            return kind[content]
        return kind(**{key: decode(item) for key, item in content.items()})
    except (TypeError, ValueError, KeyError, AttributeError, ImportError) as error:
        raise NotKeepableError(f"cannot be read: {type(error).__name__}: {error}") from error


def _name(kind: type) -> str:
    if kind.__module__.partition(".")[0] != _PACKAGE or "<locals>" in kind.__qualname__:
        raise NotKeepableError(f"a {kind.__module__}.{kind.__qualname__} cannot be kept: no class of {_PACKAGE}")
    return f"{kind.__module__}:{kind.__qualname__}"


def _class(name: str) -> type:
    module, _, qualname = name.partition(":")
    if module.partition(".")[0] != _PACKAGE:
        raise NotKeepableError(f"{name} is not a class of {_PACKAGE}")
    found = operator.attrgetter(qualname)(importlib.import_module(module))
    if not (isinstance(found, type) and (dataclasses.is_dataclass(found) or issubclass(found, enum.Enum))):
        raise NotKeepableError(f"{name} is neither a dataclass nor an enum")
    return found
