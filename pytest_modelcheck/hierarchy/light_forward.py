"""A forward pass that is watched for who calls what, not for its numbers: large results are allocated, not computed.

Which operators run, and who reads whose results, does not depend on the numbers, unless something asks for them: a
branch on a value, a shape that depends on one. Whoever skips must look for that (`asks_for_values`), and run the pass
once more with its numbers. A pass over ResNet-50 takes a tenth of the time like this.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

SKIPPED_FROM = 1 << 14
"""Elements that an operator reads, from which on it is not computed; below, its shape costs as much as its result."""

SKIPPED_BY_RULE_FROM = 1 << 17
"""The same where torch has to be asked for the shape."""

_BROADCASTING = frozenset(
    (
        "add", "sub", "mul", "div", "relu", "gelu", "silu", "sigmoid", "tanh",
        "hardtanh", "hardswish", "hardsigmoid", "leaky_relu", "elu", "softplus", "erf", "exp", "sqrt",
        "rsqrt", "pow", "neg", "abs", "clamp", "_softmax", "_safe_softmax", "clone",
    )
)  # fmt: skip
"""Operators whose result is of the type of their first tensor, and of the shape that their tensors broadcast to."""

_NORMS = frozenset({"native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training"})
_WITH_INDICES = frozenset({"max_pool2d_with_indices", "max_pool3d_with_indices"})


@dataclass(frozen=True, slots=True)
class OperatorTraits:
    """What the schema of an ATen operator says; asked for once, since each question makes the schema's parts again.

    Attributes:
        name: Without namespace and overload.
        writes: Whether it writes into an argument.
        returns_view: Whether a result is, or may be, a view of an argument.
        depends_on_data: Whether numbers become Python values or shapes.
    """

    name: str
    writes: bool
    returns_view: bool
    depends_on_data: bool


@functools.cache
def operator_traits(func: Any) -> OperatorTraits:
    """The traits of an operator overload."""
    schema = func._schema
    return OperatorTraits(
        name=schema.name.rpartition("::")[2],
        writes=schema.is_mutable,
        returns_view=any(made.alias_info is not None for made in schema.returns),
        depends_on_data=torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags,
    )


def shaped_result(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], read: Sequence[torch.Tensor]) -> Any:
    """What `func` would return, with arbitrary numbers; None where it should be computed.

    Computed are operators that write into an argument, whose result is a view of one, that return other than
    floating-point numbers (indices must be valid), and all that read fewer than `SKIPPED_FROM` elements.

    Args:
        func: An ATen operator overload.
        args, kwargs: Its arguments.
        read: The tensors among them.
    """
    traits = operator_traits(func)
    size = sum(tensor.numel() for tensor in read)
    if traits.writes or traits.returns_view or size < SKIPPED_FROM:
        return None
    if not read[0].is_floating_point():
        return None
    name = traits.name
    if name in _BROADCASTING:
        shape = torch.broadcast_shapes(*(tensor.shape for tensor in read))  # type: ignore[no-untyped-call]
        return read[0].new_empty(shape)
    if name in _NORMS:
        return tuple(read[0].new_empty(shape) for shape in (read[0].shape, 0, 0))
    if name == "mean" and len(args) > 1 and args[1]:
        return read[0].new_empty(_reduced(read[0].shape, *args[1:3]))
    if name == "convolution" and not args[6]:
        return read[0].new_empty(_convolved(*args[:2], *args[3:6]))
    if size < SKIPPED_BY_RULE_FROM:
        return None
    return _by_shape_rule(func, name, args, kwargs, read)


def _convolved(
    x: torch.Tensor, weight: torch.Tensor, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """(batch, channels, *spatial) of a convolution that is not transposed."""
    spatial = len(weight.shape) - 2
    strides, pads, dilations = ([*given] * (spatial // len(given)) for given in (stride, padding, dilation))
    sizes = [
        (size + 2 * pad - step * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, pad, step in zip(
            x.shape[-spatial:], weight.shape[2:], strides, pads, dilations, strict=True
        )
    ]
    return [*x.shape[: -spatial - 1], weight.shape[0], *sizes]


def _reduced(shape: Sequence[int], dims: Sequence[int], keepdim: bool = False) -> list[int]:
    gone = {dim % len(shape) for dim in dims}
    return [1 if i in gone else size for i, size in enumerate(shape) if keepdim or i not in gone]


def _by_shape_rule(
    func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], read: Sequence[torch.Tensor]
) -> Any:
    """By torch's own shape rule for the operator, on the device that has no numbers."""
    try:
        shapes = func(*_on_meta(args), **_on_meta(kwargs))
    except (NotImplementedError, RuntimeError):  # an operator without a shape rule
        return None
    results = shapes if isinstance(shapes, tuple | list) else (shapes,)
    if not all(isinstance(made, torch.Tensor) and made.layout is torch.strided for made in results):
        return None
    if not all(made.is_floating_point() for made in results) and name not in _WITH_INDICES:
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
    traits = operator_traits(func)
    if traits.depends_on_data:
        return True
    return traits.name.startswith("index") and any(tensor.dtype is torch.bool for tensor in read)


def _on_meta(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device="meta")
    if isinstance(value, dict):
        return {key: _on_meta(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_meta(item) for item in value)
    return torch.device("meta") if isinstance(value, torch.device) else value
