"""Outputs: whatever a forward returns, as tensors by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from pytest_modelcheck.calling.file_names import named_after_file
from pytest_modelcheck.calling.structure import is_cache, is_cache_pair
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import ModelCase


def select_outputs(case: ModelCase, outputs: Any, inputs: Sequence[str] = ()) -> dict[str, torch.Tensor]:
    """Flatten what a forward returned into output name -> tensor.

    With `output_names`, a mapping or dataclass is picked by key or field (a field that holds several tensors gives all
    of them); a tuple is named in order, and its length must fit. Without, every tensor is kept: mapping keys, field
    names and indices joined with ``.``, elements of a sequence as ``output_0``, ``output_1``, ...; None is left out.
    A key/value cache gives ``<field>.<layer>.key`` and ``<field>.<layer>.value``, that of an encoder-decoder
    ``<field>.<layer>.decoder.key`` and so on. For a case that is a shipped file,
    `output_names` are those of the file: whatever the forward returns is flattened and matched by `file_names`.

    Args:
        case: Says which outputs are selected.
        outputs: What the forward returned.
        inputs: Names of the inputs: a cache that goes in and comes out by one name comes out as ``present``.

    Raises:
        ModelCaseError: if a named output does not exist, something is neither a tensor nor None, or there is no tensor.
    """
    wanted = None if case.output_names is None else tuple(case.output_names)
    fields = named_fields(outputs)
    if not case.onnx_path and (shared := _shared_cache(outputs, inputs)):
        outputs = {("present" if name in shared else name): value for name, value in (fields or {}).items()}
        wanted = None if wanted is None else tuple("present" if name in shared else name for name in wanted)
        fields = named_fields(outputs)
    if case.onnx_path is not None and wanted is not None:
        return named_after_file(case, "output", dict(_flatten(case, outputs, "")), wanted)
    if wanted is not None and fields is not None:
        outputs = {name: value for name, value in fields.items() if _is_wanted(name, wanted)}
    flat: dict[str, torch.Tensor] = {}
    for name, tensor in _flatten(case, outputs, ""):
        if name in flat:
            raise ModelCaseError(f"{case.name}: the forward returned two tensors named {name!r}")
        flat[name] = tensor
    if wanted is None or fields is None:
        if not flat:
            raise ModelCaseError(f"{case.name}: the forward returned no tensor ({type(outputs).__name__})")
        return flat if wanted is None else _named_in_order(case, wanted, flat)
    picked = {name: [key for key in flat if key == name or key.startswith(f"{name}.")] for name in wanted}
    if missing := [name for name, keys in picked.items() if not keys]:
        has = ", ".join(name for name, value in fields.items() if value is not None) or "none"
        raise ModelCaseError(f"{case.name}: the forward has no output tensor named {', '.join(missing)}; it has {has}")
    return {key: flat[key] for keys in picked.values() for key in keys}


def _shared_cache(outputs: Any, inputs: Sequence[str]) -> set[str]:
    """Fields that are a cache whose tensors would have the names of inputs: in ONNX they are names in one space."""
    fields = named_fields(outputs) or {}
    caches = {name for name, value in fields.items() if is_cache(value) or is_cache_pair(value)}
    taken = {name.partition(".")[0] for name in inputs if "." in name}
    return {name for name in caches & taken if "present" not in fields}


def _is_wanted(name: str, wanted: Sequence[str]) -> bool:
    return any(name == other or other.startswith(f"{name}.") for other in wanted)


def _named_in_order(
    case: ModelCase, wanted: Sequence[str], flat: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    if len(wanted) != len(flat):
        raise ModelCaseError(
            f"{case.name}: output_names has {len(wanted)} names ({', '.join(wanted)}) for {len(flat)} output tensors"
        )
    return dict(zip(wanted, flat.values(), strict=True))


def named_fields(outputs: Any) -> Mapping[str, Any] | None:
    """Field name -> value of a mapping, a dataclass or a named tuple; None for anything else."""
    if isinstance(outputs, Mapping):  # transformers' ModelOutput is an OrderedDict
        return {key if isinstance(key, str) else f"output_{key}": value for key, value in outputs.items()}
    if dataclasses.is_dataclass(outputs) and not isinstance(outputs, type):
        return {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}
    if isinstance(outputs, tuple) and hasattr(outputs, "_fields"):
        return dict(zip(outputs._fields, outputs, strict=True))
    return None


def _flatten(case: ModelCase, value: Any, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    if value is None:
        return
    if isinstance(value, torch.Tensor):
        yield prefix or "output_0", value
    elif (fields := _cache_fields(value)) is not None or (fields := named_fields(value)) is not None:
        for key, item in fields.items():
            yield from _flatten(case, item, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _flatten(case, item, f"{prefix}.{index}" if prefix else f"output_{index}")
    else:
        raise ModelCaseError(
            f"{case.name}: output {prefix or 'of the forward'} is a {type(value).__name__}, which no ONNX output can "
            f"carry; let output_names pick the outputs to export, or have the forward return tensors"
        )


def _cache_fields(value: Any) -> Mapping[str, Any] | None:
    """The tensors of a transformers key/value cache, by layer; None for anything else."""
    if is_cache_pair(value):
        decoder, encoder = (_cache_fields(cache) for cache in (value.self_attention_cache, value.cross_attention_cache))
        assert decoder is not None
        assert encoder is not None
        return {layer: {"decoder": decoder[layer], "encoder": encoder.get(layer)} for layer in decoder}
    if not is_cache(value):
        return None
    return {str(index): {"key": layer.keys, "value": layer.values} for index, layer in enumerate(value.layers)}
