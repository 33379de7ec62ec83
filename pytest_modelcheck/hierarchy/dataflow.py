"""The data flow of one forward pass: which operators lead from the model's inputs to its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from pytest_modelcheck.calling import WatchingMode
from pytest_modelcheck.hierarchy.alignment import TorchOp
from pytest_modelcheck.hierarchy.light_forward import (
    READERS,
    ValuesAskedForError,
    asks_for_values,
    operator_traits,
    shaped_result,
)

COMPOSITES = frozenset({"linear", "matmul", "__matmul__", "__rmatmul__", "bmm", "scaled_dot_product_attention"})
"""Python-level calls that count as one operator of the trace, however many ATen operators they run."""


class DataFlow(WatchingMode):
    """Records, while it is entered, which operator read the results of which; the results themselves are not kept.

    Operators are numbered in order; `owner` tells which module runs when one is met, and in which of its calls. A
    tensor that an operator changes in place counts as made by it, and so does the tensor that it is a view of.

    Args:
        inputs: The model's inputs.
        owner: The module that runs, and in which of its calls; None outside the model's forward, where nothing is
            recorded.
        values: Compute every result. Else large ones have arbitrary numbers (`light_forward.py`), and reading such a
            number raises a `ValuesAskedForError`.
    """

    def __init__(
        self, inputs: Iterable[torch.Tensor], owner: Callable[[], tuple[str, int] | None], *, values: bool = True
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._maker: Any = WeakTensorKeyDictionary()
        self._owner = owner
        self._values = values
        self._skipped: list[bool] = []
        self.missed = False
        self._composites = _Composites(self._check_numbers)
        self._operators: list[tuple[str, tuple[str, int], int]] = []  # name, module and its call, composite call
        self._reads: list[frozenset[int]] = []
        self._depends: list[bool] = []
        self._inputs: Any = WeakTensorKeyDictionary()
        for tensor in inputs:
            self._inputs[tensor] = True

    def __enter__(self) -> Self:
        self._composites.__enter__()  # type: ignore[no-untyped-call]
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._composites.__exit__(*error)  # type: ignore[no-untyped-call]

    @property
    def count(self) -> int:
        """How many operators ran so far: the number of the next one."""
        return len(self._reads)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        place = self._owner()
        if place is None:
            return func(*args, **(kwargs or {}))
        traits = operator_traits(func)
        read = tensors_in((args, kwargs))
        if not self._values and asks_for_values(func, read):
            self._check_numbers(read)
        result = None if self._values else shaped_result(func, args, kwargs or {}, read)
        skipped = result is not None
        if not skipped:
            result = func(*args, **(kwargs or {}))
        makers = frozenset(maker for tensor in read if (maker := self._maker.get(tensor)) is not None)
        number = len(self._reads)
        self._skipped.append(skipped or any(self._skipped[maker] for maker in makers))
        name = self._composites.name or traits.name
        serial = self._composites.serial if self._composites.name else -1
        self._operators.append((name, place, serial))
        self._reads.append(makers)
        self._depends.append(
            any(self._depends[maker] for maker in makers) or any(tensor in self._inputs for tensor in read)
        )
        made = tensors_in(result)
        if traits.writes:
            made += read
        for tensor in made:
            self._maker[tensor] = number
            if traits.writes and tensor._base is not None:
                self._maker[tensor._base] = number
        return result

    def _check_numbers(self, tensors: Iterable[torch.Tensor]) -> None:
        """Raises ValuesAskedForError if the numbers of any of `tensors` rest on a result that was not computed."""
        makers = (self._maker.get(tensor) for tensor in tensors)
        if any(self._skipped[maker] for maker in makers if maker is not None):
            self.missed = True  # a forward may catch what is raised here, and go on another way
            raise ValuesAskedForError

    def leading_to(self, outputs: Iterable[torch.Tensor]) -> frozenset[int]:
        """The operators whose results reach any of `outputs`."""
        stack = [self._maker[tensor] for tensor in outputs if tensor in self._maker]
        found = set(stack)
        while stack:
            for maker in self._reads[stack.pop()] - found:
                found.add(maker)
                stack.append(maker)
        return frozenset(found)

    def trace(self, numbers: Iterable[int]) -> tuple[TorchOp, ...]:
        """The operators of these numbers in order, each composite call once."""
        made: list[TorchOp] = []
        places: dict[int, int] = {}
        for number in sorted(numbers):
            name, place, composite = self._operators[number]
            constant = not self._depends[number]
            if composite < 0 or composite not in places:
                places[composite] = len(made)
                made.append(TorchOp(name, *place, constant=constant))
            elif not constant:  # of a composite call, any part that reads data makes the whole read it
                made[places[composite]] = TorchOp(name, *place)
        return tuple(made)

    def depends_on_inputs(self, operator: int) -> bool:
        """Whether an operator's result depends on the model's inputs (not on their shapes alone)."""
        return self._depends[operator]


class _Composites(TorchFunctionMode):
    """Knows, while it is entered, inside which composite call we are: its name (`""` for none) and its number."""

    def __init__(self, check_numbers: Callable[[Iterable[torch.Tensor]], None]) -> None:
        super().__init__()
        self.name = ""
        self.serial = 0
        self._check_numbers = check_numbers

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in READERS:
            self._check_numbers(tensors_in(args))
        if name not in COMPOSITES:
            return func(*args, **(kwargs or {}))
        self.name = "matmul" if "matmul" in name else name
        self.serial += 1
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.name = ""


_PLAIN = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device})


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors in nested lists, tuples and mappings (dataclass-like mappings of transformers among them)."""
    found: list[torch.Tensor] = []
    _collect(value, found)
    return found


def _collect(value: Any, found: list[torch.Tensor]) -> None:
    if isinstance(value, torch.Tensor):
        found.append(value)
    elif type(value) in _PLAIN:
        return
    elif isinstance(value, (list, tuple)):
        for item in value:
            _collect(item, found)
    elif isinstance(value, Mapping):
        for item in value.values():
            _collect(item, found)
