"""What compute nodes cost: FLOPs and bytes of results, from the example values that a capture carries.

Nothing is computed: an operator is called once per kind and shapes of its operands, on fake tensors, under torch's own
flop counter, as `calling.flop_counter` completes it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import torch

from pytest_modelcheck.calling.flop_counter import flop_counter
from pytest_modelcheck.fusion.ops import Op
from pytest_modelcheck.fusion.rules import VIEW

_NOTHING = object()
_COPIES = frozenset({"clone", "contiguous"})
"""The layout operators that write a new tensor: all others of `VIEW` name an old one in another way."""


class Costs:
    """Costs of the compute nodes of one graph; equal calls are counted once and remembered.

    Args:
        modules: The graph's modules, for nodes that call one.
    """

    def __init__(self, modules: torch.nn.Module) -> None:
        self._modules = modules
        self._known: dict[Hashable, int | None] = {}

    def flops(self, op: Op) -> int | None:
        """Floating-point operations; None where a size is not known, or the operator has no fake form."""
        operands = _values((op.node.args, op.node.kwargs))
        if operands is None:
            return None
        key = (op.node.op, op.node.target, _key(operands))
        if key not in self._known:
            self._known[key] = self._counted(op.node, *operands)
        return self._known[key]

    def result_bytes(self, op: Op) -> int | None:
        """Bytes of what the operator writes; 0 for a view, None where a size is not known."""
        if op.name in VIEW - _COPIES:
            return 0
        made = list(_tensors(op.node.meta.get("val")))
        if not made or any(not _is_sized(value) for value in made):
            return None
        return sum(int(value.numel()) * int(value.element_size()) for value in made)

    def _counted(self, node: torch.fx.Node, args: Any, kwargs: Any) -> int | None:
        target: Any = node.target
        if node.op == "call_module":
            target = self._modules.get_submodule(str(node.target))
        elif node.op == "call_method":
            target = getattr(torch.Tensor, str(node.target))
        mode = next((value.fake_mode for value in _tensors((args, kwargs))), None)
        if mode is None:
            return 0  # it makes its result out of numbers
        try:
            with torch.no_grad(), mode, flop_counter() as counter:
                target(*args, **kwargs)
        except RuntimeError:  # no fake form, or a result whose size depends on data
            return None
        return int(counter.get_total_flops())


def _values(arguments: Any) -> Any | None:
    """`arguments` with graph nodes replaced by their example values; None where one has none, or an open size."""

    def value(node: torch.fx.Node) -> Any:
        return node.meta.get("val", _NOTHING)

    filled = torch.fx.node.map_arg(arguments, value)
    return filled if all(_is_known(leaf) for leaf in _leaves(filled)) else None


def _key(value: Any) -> Hashable:
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape), value.dtype)
    if isinstance(value, dict):
        return tuple((name, _key(item)) for name, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(_key(item) for item in value)
    return repr(value)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _tensors(value: Any) -> Iterator[Any]:
    return (leaf for leaf in _leaves(value) if isinstance(leaf, torch.Tensor))


def _is_known(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return _is_sized(value)
    return value is not _NOTHING and not isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool)


def _is_sized(value: torch.Tensor) -> bool:
    return all(isinstance(size, int) for size in value.shape)
