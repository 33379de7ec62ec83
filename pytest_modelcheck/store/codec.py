"""Result objects as JSON, and back: dataclasses and enums of this package, and what they are made of.

Tagged, so that reading needs no type hints and gives exactly what was written: tuples stay tuples, NaN stays NaN. A
class of any other package is refused in both directions: a file on disk can name no code to run.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import math
from typing import Any

from pytest_modelcheck.errors import ModelCheckError

_PACKAGE = __name__.partition(".")[0]


class NotKeepableError(ModelCheckError):
    """A value has no faithful form in JSON, or a text is not what `encode` writes."""


def encode(value: Any) -> Any:
    """`value` as plain JSON types.

    Raises:
        NotKeepableError: for a value of a type that would not come back as it was.
    """
    if isinstance(value, enum.Enum):
        return {"enum": _name(type(value)), "member": value.name}
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if type(value) is list:
        return [encode(item) for item in value]
    if type(value) in (tuple, frozenset):
        return {type(value).__name__: [encode(item) for item in value]}
    if type(value) is dict:
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return {"dataclass": _name(type(value)), "fields": fields}
    raise NotKeepableError(f"a {type(value).__module__}.{type(value).__qualname__} cannot be kept")


def decode(data: Any) -> Any:
    """What `encode` was given.

    Raises:
        NotKeepableError: if `data` was not written by `encode`, or its classes have changed since.
    """
    if data is None or isinstance(data, bool | int | str | float):
        return data
    if isinstance(data, list):
        return [decode(item) for item in data]
    try:
        match data:
            case {"float": str(text)}:
                return float(text)
            case {"tuple": list(items)}:
                return tuple(map(decode, items))
            case {"frozenset": list(items)}:
                return frozenset(map(decode, items))
            case {"dict": list(items)}:
                return {decode(key): decode(item) for key, item in items}
            case {"enum": str(name), "member": str(member)}:
                return _class(name, enum.Enum)[member]  # type: ignore[index]
            case {"dataclass": str(name), "fields": dict(fields)}:
                return _class(name, object)(**{key: decode(item) for key, item in fields.items()})
    except (TypeError, ValueError, KeyError, AttributeError, ImportError) as error:
        raise NotKeepableError(f"cannot be read: {type(error).__name__}: {error}") from error
    raise NotKeepableError(f"cannot be read: {str(data)[:80]}")


def _name(kind: type) -> str:
    if kind.__module__.partition(".")[0] != _PACKAGE or "<locals>" in kind.__qualname__:
        raise NotKeepableError(f"a {kind.__module__}.{kind.__qualname__} cannot be kept: no class of {_PACKAGE}")
    return f"{kind.__module__}:{kind.__qualname__}"


def _class(name: str, base: type) -> type:
    module, _, qualname = name.partition(":")
    if module.partition(".")[0] != _PACKAGE:
        raise NotKeepableError(f"{name} is not a class of {_PACKAGE}")
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, base)) or not (
        dataclasses.is_dataclass(found) or issubclass(found, enum.Enum)
    ):
        raise NotKeepableError(f"{name} is neither a dataclass nor an enum")
    return found
