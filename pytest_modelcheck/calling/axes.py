"""Which axes of a case's inputs are dynamic: `dynamic_axes`, or torch's own `dynamic_shapes`, by input name.

Both may name an argument that holds several tensors, a cache say: it is then meant of each of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_modelcheck.calling.structure import CachePair, CacheParts, Fields, Leaf
from pytest_modelcheck.dimensions import check_axes
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import ModelCase

TorchDims = Mapping[str, Mapping[int, Any]]
"""Input name -> {axis: torch's own object, such as ``Dim("batch")`` or ``Dim.DYNAMIC``}."""


def axes_of_inputs(case: ModelCase, names: Sequence[str]) -> dict[str, dict[int, str]]:
    """`dynamic_axes` of a case by input: an entry for an argument holds for every tensor in it.

    >>> axes_of_inputs(case, ["past.0.key", "past.0.value"])  # dynamic_axes={"past": {2: "past"}}
    {'past.0.key': {2: 'past'}, 'past.0.value': {2: 'past'}}
    """
    axes: dict[str, dict[int, str]] = {}
    for given, by_axis in (case.dynamic_axes or {}).items():
        inside = [name for name in names if name.startswith(f"{given}.")]
        for name in [given] if given in names or not inside else inside:
            axes[name] = {**axes.get(name, {}), **by_axis}
    return axes


def torch_dims(case: ModelCase, names: Sequence[str], arguments: Mapping[str, Any]) -> dict[str, dict[int, Any]]:
    """`dynamic_shapes` of a case by input: what torch makes of them, without axes that stay fixed.

    Args:
        case: Whose `dynamic_shapes` are read: by argument name, or in the order of the arguments.
        names: Of the inputs, in order.
        arguments: Argument name -> its structure, see `structure.take_apart`.

    Raises:
        ModelCaseError: for a name that is not an argument, and a structure that differs from its argument's.
    """
    given = case.dynamic_shapes
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        if len(given) > len(arguments):
            raise ModelCaseError(f"dynamic_shapes has {len(given)} entries, the inputs are {', '.join(arguments)}")
        given = dict(zip(arguments, given, strict=False))
    dims: dict[str, dict[int, Any]] = {}
    for name, spec in given.items():
        if name not in arguments:
            raise ModelCaseError(f"dynamic_shapes names {name!r}; the inputs are {', '.join(arguments)}")
        for index, by_axis in _by_leaf(spec, arguments[name], name):
            dims[names[index]] = by_axis
    return {name: by_axis for name, by_axis in dims.items() if by_axis}


def named_dims(dims: TorchDims) -> dict[str, dict[int, str]]:
    """torch's dimensions by name: ``Dim("batch")`` is ``batch``, ``2 * Dim("half")`` is ``2*half``.

    One without a name (`Dim.DYNAMIC`) is called after its place, ``input_ids_1``.

    Raises:
        ModelCaseError: if a name is one that `dimensions` does not read.
    """
    axes = {
        name: {axis: _name_of(dim) or re.sub(r"\W", "_", f"{name}_{axis}") for axis, dim in by_axis.items()}
        for name, by_axis in dims.items()
    }
    roots = {f"root of {name}": {0: name} for name in _roots(dims)}
    check_axes({**axes, **roots}, "dynamic_shapes")
    return axes


def is_unnamed(dim: Any) -> bool:
    """Whether torch finds out itself what a dimension is: ``Dim.DYNAMIC``, ``Dim.AUTO``."""
    return dim is not None and _name_of(dim) is None


def may_be_fixed(dim: Any) -> bool:
    """Whether torch may make a constant of a dimension without a word: ``Dim.AUTO``."""
    return _hint(dim) == "AUTO"


def _roots(dims: TorchDims) -> set[str]:
    """Names that derived dimensions are made of: ``half`` of ``2 * Dim("half")``, which need be no axis itself."""
    found = (getattr(dim, "root", None) for by_axis in dims.values() for dim in by_axis.values())
    return {root.__name__ for root in found if root is not None}


def _name_of(dim: Any) -> str | None:
    name = dim if isinstance(dim, str) else getattr(dim, "__name__", None)
    return name if isinstance(name, str) else None


def _hint(dim: Any) -> str | None:
    kind = getattr(getattr(dim, "type", None), "name", None)
    return kind if isinstance(kind, str) else None


def _by_leaf(spec: Any, value: Any, path: str) -> Iterator[tuple[int, dict[int, Any]]]:
    """(number of the tensor, its dynamic axes) of each tensor of an argument."""
    if spec is None:
        return
    if isinstance(value, Leaf):
        yield value.index, _axes_of_one(spec, path)
        return
    parts = _parts(value)
    if isinstance(spec, Mapping) and spec and all(type(axis) is int for axis in spec):  # one for every tensor
        for name, part in parts.items():
            yield from _by_leaf(spec, part, f"{path}.{name}")
        return
    if isinstance(value, CacheParts | CachePair):
        yield from _by_cache(spec, value, path)
        return
    given = spec if isinstance(spec, Mapping) else dict(zip(parts, spec, strict=False))
    if (not isinstance(spec, Mapping) and len(spec) != len(parts)) or not set(given) <= set(parts):
        raise _misfit(path, parts, spec)
    for name, part in given.items():
        yield from _by_leaf(part, parts[name], f"{path}.{name}")


def _parts(value: Any) -> dict[Any, Any]:
    if isinstance(value, Fields):
        return {name: part for name, part in value.fields.items() if part is not None}
    if isinstance(value, CacheParts):
        return dict(enumerate(value.layers))
    if isinstance(value, CachePair):
        return {"decoder": value.decoder, "encoder": value.encoder}
    if isinstance(value, dict):
        return value
    return dict(enumerate(value)) if isinstance(value, list | tuple) else {}


def _by_cache(spec: Any, value: CacheParts | CachePair, path: str) -> Iterator[tuple[int, dict[int, Any]]]:
    """torch sees a cache as two lists, the keys of all layers and the values; and one of an encoder-decoder as two."""
    given = list(spec.values()) if isinstance(spec, Mapping) else list(spec)
    if isinstance(value, CachePair):
        if len(given) != 2:
            raise _misfit(path, _parts(value), spec)
        for part, of_part in zip((value.decoder, value.encoder), given, strict=True):
            yield from _by_leaf(of_part, part, path)
        return
    layers = [layer for layer in value.layers if layer]
    if len(given) != 2 or any(len(of_role) != len(layers) for of_role in given):
        raise _misfit(path, {"keys": layers, "values": layers}, spec)
    for role, of_role in zip(("key", "value"), given, strict=True):
        for index, (layer, of_layer) in enumerate(zip(layers, of_role, strict=True)):
            yield from _by_leaf(of_layer, layer[role], f"{path}.{index}.{role}")


def _axes_of_one(spec: Any, path: str) -> dict[int, Any]:
    if isinstance(spec, Mapping) and all(type(axis) is int for axis in spec):
        return {axis: dim for axis, dim in spec.items() if _is_dynamic(dim)}
    if isinstance(spec, list | tuple):
        return {axis: dim for axis, dim in enumerate(spec) if _is_dynamic(dim)}
    raise ModelCaseError(
        f"dynamic_shapes: {path!r} is one tensor, and its entry is {spec!r}; write {{axis: Dim(...)}}, one dimension "
        "per axis in a tuple, or None"
    )


def _is_dynamic(dim: Any) -> bool:
    return dim is not None and type(dim) is not int and _hint(dim) != "STATIC"


def _misfit(path: str, parts: Mapping[Any, Any], spec: Any) -> ModelCaseError:
    return ModelCaseError(
        f"dynamic_shapes: {path!r} holds {', '.join(map(str, parts)) or 'no tensor'}, and its entry is "
        f"{type(spec).__name__} of {len(spec)}"
    )
