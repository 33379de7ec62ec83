"""A forward pass that is watched for who calls what, not for its numbers: large results are allocated, not computed.

Which operators run, and who reads whose results, does not depend on the numbers, unless something asks for them: a
branch on a value, a shape that depends on one. Whoever skips must look for that (`asks_for_values`), and run the pass
once more with its numbers. A pass over ResNet-50 takes a tenth of the time like this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

SKIPPED_FROM = 1 << 17
"""Elements that an operator reads, from which on it is not computed; below, its shape costs as much as its result."""

_WITH_INDICES = frozenset({"max_pool2d_with_indices", "max_pool3d_with_indices"})


def shaped_result(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], read: Sequence[torch.Tensor]) -> Any:
    """What `func` would return, with arbitrary numbers; None where it should be computed.

    Computed are operators that write into an argument, whose result is a view of one, that return other than
    floating-point numbers (indices must be valid), and all that read fewer than `SKIPPED_FROM` elements.

    Args:
        func: An ATen operator overload.
        args, kwargs: Its arguments.
        read: The tensors among them.
    """
    schema = func._schema
    if sum(tensor.numel() for tensor in read) < SKIPPED_FROM or schema.is_mutable:
        return None
    if any(made.alias_info is not None for made in schema.returns):
        return None
    try:
        shapes = func(*_on_meta(args), **_on_meta(kwargs))
    except (NotImplementedError, RuntimeError):  # an operator without a shape rule
        return None
    results = shapes if isinstance(shapes, tuple | list) else (shapes,)
    if not all(isinstance(made, torch.Tensor) and made.layout is torch.strided for made in results):
        return None
    if not all(made.is_floating_point() for made in results) and schema.name.rpartition("::")[2] not in _WITH_INDICES:
        return None
    filled = [
        torch.empty_strided(made.size(), made.stride(), dtype=made.dtype, device=read[0].device) for made in results
    ]
    return type(shapes)(filled) if isinstance(shapes, tuple | list) else filled[0]


class ValuesAskedForError(Exception):
    """The forward pass reads a number that was not computed."""


READERS = frozenset({"numpy", "tolist", "__array__"})
"""Methods of a tensor that give its numbers to Python, some of them past the dispatcher."""


def asks_for_values(func: Any, read: Sequence[torch.Tensor]) -> bool:
    """Whether `func` turns numbers into Python values or shapes: `item`, `nonzero`, a Boolean index."""
    if torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags:
        return True
    return bool(func._schema.name.startswith("aten::index")) and any(tensor.dtype is torch.bool for tensor in read)


def _on_meta(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device="meta")
    if isinstance(value, dict):
        return {key: _on_meta(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_meta(item) for item in value)
    return torch.device("meta") if isinstance(value, torch.device) else value
