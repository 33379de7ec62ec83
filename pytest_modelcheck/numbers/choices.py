"""What a forward chooses: topk, sort, argmax, nms, masks. The quiet probe makes the choices of the plain one.

Near ties are decided by rounding, and in the quiet probe scores lie close together. So the plain run writes down which
elements were chosen, and the quiet run takes those: what it computes then depends on its inputs without jumps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pytest_modelcheck.calling import WatchingMode

_BY_INDEX = {"topk", "sort", "max", "min", "median", "nanmedian", "kthvalue", "mode", "cummax", "cummin"}
"""Operators whose results are the chosen values and their indices along an axis."""

_INDICES = {"argmax", "argmin", "argsort", "nms", "nonzero", "multinomial", "searchsorted", "bucketize"}
"""Operators whose only result is what was chosen."""

_BY_MASK = {"masked_select", "index"}


class Choices(WatchingMode):
    """Watches one forward.

    Args:
        taken: The `made` of an earlier forward of the same module, whose choices are made again; None: choose freely.

    Attributes:
        made: What was chosen, in order.
        random: Whether an operator drew random numbers.
        higher_order: Whether an operator took functions, as `torch.cond` does.
        lost: Whether the forward came to a choice that does not fit `taken`.
    """

    supports_higher_order_operators = True  # else `torch.cond` fails, and its failure stays in dynamo's cache

    def __init__(self, taken: Sequence[tuple[torch.Tensor, ...]] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._taken = taken
        self.made: list[tuple[torch.Tensor, ...]] = []
        self.random = False
        self.higher_order = False
        self.lost = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not isinstance(func, torch._ops.OpOverload):  # `torch.cond` and its like
            self.higher_order = True
            return func(*args, **kwargs)
        self.random |= torch.Tag.nondeterministic_seeded in func.tags
        name = func._schema.name.partition("::")[2]
        if name in _BY_MASK:
            return self._select(func, args, kwargs)
        result = func(*args, **kwargs)
        if name in _BY_INDEX and isinstance(result, tuple | list) and len(result) == 2:
            (indices,) = self._choice((result[1],))
            return (
                result
                if indices is result[1]
                else (_gathered(args[0], indices, result[0], func, args, kwargs), indices)
            )
        if name in _INDICES and isinstance(result, torch.Tensor):
            return self._choice((result,))[0]
        return result

    def _select(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        given = args[1] if isinstance(args[1], list | tuple) else (args[1],)
        masks = [
            place for place, mask in enumerate(given) if isinstance(mask, torch.Tensor) and mask.dtype is torch.bool
        ]
        if not masks:
            return func(*args, **kwargs)
        chosen = list(given)
        for place, mask in zip(masks, self._choice(tuple(given[place] for place in masks)), strict=True):
            chosen[place] = mask
        return func(args[0], chosen if isinstance(args[1], list | tuple) else chosen[0], *args[2:], **kwargs)

    def _choice(self, now: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        place = len(self.made)
        self.made.append(tuple(tensor.clone() for tensor in now))
        if self._taken is None or self.lost:
            return now
        taken = self._taken[place] if place < len(self._taken) else ()
        if [(t.dtype, t.dim()) for t in taken] != [(t.dtype, t.dim()) for t in now]:
            self.lost = True
            return now
        return taken


def _gathered(
    source: torch.Tensor,
    indices: torch.Tensor,
    like: torch.Tensor,
    func: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> torch.Tensor:
    """The elements of `source` at `indices` along the operator's axis, in the shape of `like`."""
    names = [argument.name for argument in func._schema.arguments]
    defaults = {argument.name: argument.default_value for argument in func._schema.arguments}
    axis = args[names.index("dim")] if "dim" in names and names.index("dim") < len(args) else None
    axis = kwargs.get("dim", defaults.get("dim")) if axis is None else axis
    axis = -1 if axis is None else axis
    if not source.dim():
        return like
    kept = indices if indices.dim() == source.dim() else indices.unsqueeze(axis)
    return source.gather(axis, kept).reshape(indices.shape)
