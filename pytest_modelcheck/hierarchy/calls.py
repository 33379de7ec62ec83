"""Which modules ran, and from where they were called: one forward pass with hooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_modelcheck.calling import ModuleInputs, run_module
from pytest_modelcheck.model_case import ModelCase


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleCalls:
    """The module tree and what one forward pass did with it.

    Attributes:
        classes: Module path -> class name, every module of the tree once, under its first name; ``""`` is the root.
        parameters: Full parameter or buffer name -> path of its module. A tensor that several modules share is listed
            under each of its names.
        stacks: Call stack, outermost first and starting with ``""`` -> how often it occurred, in order of first call.
        counts: Module path -> how often it was called.
        passed_through: Modules that returned one of their own inputs unchanged in every call (`nn.Identity`, Dropout in
            eval mode): there is nothing that a node could do for them.
    """

    classes: Mapping[str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)
    stacks: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    passed_through: frozenset[str] = frozenset()

    @property
    def ran(self) -> tuple[str, ...]:
        """Paths of the modules that were called, in order of first call."""
        return tuple(self.counts)


def modules_that_ran(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs) -> ModuleCalls:
    """Run `module` once and record its calls.

    Raises:
        ModelCaseError: if the forward raises, or its outputs do not fit the case.
    """
    recorder = _Recorder(module)
    with recorder.recording():
        run_module(case, module, inputs)
    return recorder.calls()


class _Recorder:
    def __init__(self, module: torch.nn.Module) -> None:
        # A module object is the key, not its id(): it is held here, so the entry cannot go stale.
        self._paths = {submodule: path for path, submodule in module.named_modules()}
        self._module = module
        self._stack: list[str] = []
        self._stacks: dict[tuple[str, ...], int] = {}
        self._counts: dict[str, int] = {}
        self._worked: set[str] = set()

    def recording(self) -> ExitStack:
        stack = ExitStack()
        for submodule, path in self._paths.items():
            before, after = self._hooks(path)
            stack.enter_context(submodule.register_forward_pre_hook(before, prepend=True, with_kwargs=True))
            stack.enter_context(submodule.register_forward_hook(after, with_kwargs=True, always_call=True))
        return stack

    def _hooks(self, path: str) -> tuple[Any, Any]:
        def before(_module: torch.nn.Module, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
            self._stack.append(path)
            stack = tuple(self._stack)
            self._stacks[stack] = self._stacks.get(stack, 0) + 1
            self._counts[path] = self._counts.get(path, 0) + 1

        def after(_module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            self._stack.pop()
            given = [tensor for value in (*args, *kwargs.values()) for tensor in _tensors(value)]
            made = list(_tensors(output))
            if not made or not all(any(tensor is other for other in given) for tensor in made):
                self._worked.add(path)

        return before, after

    def calls(self) -> ModuleCalls:
        names = [
            name
            for listed in (self._module.named_parameters, self._module.named_buffers)
            for name, _ in listed(remove_duplicate=False)
        ]
        first_name = dict(self._module.named_modules(remove_duplicate=False))
        owners = {name: self._paths[first_name[name.rpartition(".")[0]]] for name in names}
        return ModuleCalls(
            classes={path: type(submodule).__name__ for submodule, path in self._paths.items()},
            parameters=owners,
            stacks=self._stacks,
            counts=self._counts,
            passed_through=frozenset(self._counts.keys() - self._worked),
        )


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
