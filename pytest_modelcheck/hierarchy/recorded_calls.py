"""One forward pass with hooks: which modules ran, and what became of their results. The one part that needs torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.padding import _ConstantPadNd
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakTensorKeyDictionary

from pytest_modelcheck.calling import ModuleInputs, build_module, module_inputs, run_module
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.hierarchy.calls import ModuleCalls
from pytest_modelcheck.hierarchy.dataflow import DataFlow, tensors_in
from pytest_modelcheck.hierarchy.light_forward import ValuesAskedForError
from pytest_modelcheck.model_case import EXAMPLE_SEED, ModelCase


def modules_that_ran(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs) -> ModuleCalls:
    """Run `module` once and record its calls; what it computes is left out where only its shape matters.

    A forward that asks for numbers which were left out is run again with all of them. One that does not run under
    torch's dispatch modes (`torch.cond` is one) is run without: then every module that worked counts as used, and there
    is not a trace.

    Raises:
        ModelCaseError: if the forward raises, or its outputs do not fit the case.
    """
    for values in (False, True):
        recorder = _Recorder(module, inputs, values=values)
        try:
            with recorder.recording(), nullcontext() if values else _one_thread():
                outputs = run_module(case, module, inputs, watching=recorder.flow)
        except (ModelCaseError, ValuesAskedForError):
            continue
        if not recorder.flow.missed:
            return recorder.calls(outputs)
    recorder = _Recorder(module, inputs)
    with recorder.recording():
        run_module(case, module, inputs)
    return recorder.calls(None)


def case_calls(case: ModelCase) -> ModuleCalls:
    """Build the module of `case` and record one forward pass on its example inputs."""
    module = build_module(case)
    return modules_that_ran(case, module, module_inputs(case, module, EXAMPLE_SEED))


class _Recorder:
    def __init__(self, module: torch.nn.Module, inputs: ModuleInputs, *, values: bool = True) -> None:
        # A module object is the key, not its id(): it is held here, so the entry cannot go stale.
        # Scripted modules take no hooks: they are part of the module that calls them.
        self._paths = {
            submodule: path
            for path, submodule in module.named_modules()
            if not path or not isinstance(submodule, torch.jit.ScriptModule)
        }
        self._module = module
        self._stack: list[tuple[str, int]] = []
        self._open: list[_Call] = []
        self._stacks: dict[tuple[str, ...], int] = {}
        self._counts: dict[str, int] = {}
        self._worked: set[str] = set()
        self._operators: dict[str, set[int]] = {}
        self._made_by: Any = WeakTensorKeyDictionary()
        self._sources: dict[str, set[str | None]] = {}
        self._readers: dict[str, set[str]] = {}
        self._pads = {path for submodule, path in self._paths.items() if isinstance(submodule, _ConstantPadNd)}
        self.flow = DataFlow(inputs.values, lambda: self._stack[-1] if self._stack else None, values=values)

    @contextmanager
    def recording(self) -> Iterator[None]:
        handles: list[RemovableHandle] = []
        try:
            for submodule, path in self._paths.items():
                if isinstance(submodule, torch.jit.ScriptModule):
                    continue
                before, after = self._hooks(path)
                handles.append(submodule.register_forward_pre_hook(before, prepend=True, with_kwargs=True))
                handles.append(submodule.register_forward_hook(after, with_kwargs=True, always_call=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hooks(self, path: str) -> tuple[Any, Any]:
        def before(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            given = tuple(tensors_in((args, kwargs)))
            self._counts[path] = self._counts.get(path, 0) + 1
            self._stack.append((path, self._counts[path]))
            self._open.append(_Call(self.flow.count, given, _versions(given)))
            stack = tuple(outer for outer, _ in self._stack)
            self._stacks[stack] = self._stacks.get(stack, 0) + 1
            source, _ = self._made_by.get(given[0], (None, 0)) if given else (None, 0)
            if isinstance(module, _BatchNorm):
                self._sources.setdefault(path, set()).add(source)
            if isinstance(module, _ConvNd) and source is not None and source in self._pads:
                self._readers.setdefault(source, set()).add(path)

        def after(_module: torch.nn.Module, _args: tuple[Any, ...], _kwargs: dict[str, Any], output: Any) -> None:
            self._stack.pop()
            call = self._open.pop()
            self._operators.setdefault(path, set()).update(range(call.start, self.flow.count))
            made = tensors_in(output)
            if (
                call.wrote_in_place
                or not made
                or not all(any(tensor is other for other in call.given) for tensor in made)
            ):
                self._worked.add(path)
                for tensor in made:
                    if self._made_by.get(tensor, (None, -1))[1] < call.start:  # else a module inside made it
                        self._made_by[tensor] = (path, call.start)

        return before, after

    def calls(self, outputs: Mapping[str, torch.Tensor] | None) -> ModuleCalls:
        """What was recorded; None for the outputs of a run without data flow."""
        useful = frozenset() if outputs is None else self.flow.leading_to(outputs.values())
        worked = [path for path in self._counts if path in self._worked]
        reaching = {path: self._operators[path] & useful for path in worked}
        constant = {
            path for path, found in reaching.items() if found and not any(map(self.flow.depends_on_inputs, found))
        }
        return ModuleCalls(
            classes={path: type(submodule).__name__ for submodule, path in self._paths.items()},
            parameters=self._parameters(),
            weights=self._weights(),
            stacks=self._stacks,
            counts=self._counts,
            passed_through=frozenset(self._counts.keys() - self._worked),
            unused=frozenset(path for path, found in reaching.items() if not found and outputs is not None),
            constant=frozenset(constant),
            norm_sources={
                path: source
                for path, sources in self._sources.items()
                if len(sources) == 1 and (source := next(iter(sources))) is not None
            },
            pad_readers={path: next(iter(readers)) for path, readers in self._readers.items() if len(readers) == 1},
            trace=self.flow.trace(useful),
        )

    def _weights(self) -> dict[str, int]:
        sizes = {name: each.numel() for name, each in self._module.named_parameters(remove_duplicate=False)}
        for path, module in self._module.named_modules(remove_duplicate=False):
            if "Norm" in type(module).__name__:
                for name, buffer in module.named_buffers(path, recurse=False):
                    sizes[name] = buffer.numel()
        return sizes

    def _parameters(self) -> dict[str, str]:
        modules = dict(self._module.named_modules(remove_duplicate=False))
        names = [
            f"{path}.{name}" if path else name
            for kind in ("_parameters", "_buffers")
            for path, module in modules.items()
            for name, tensor in getattr(module, kind).items()
            if tensor is not None
        ]
        owners = {}
        for name in names:
            holder = name.rpartition(".")[0]
            while modules[holder] not in self._paths:  # inside a scripted module: its caller's
                holder = holder.rpartition(".")[0]
            owners[name] = self._paths[modules[holder]]
        return owners


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """A call that has begun: the number of its first operator, and the tensors it was given with their versions."""

    start: int
    given: tuple[torch.Tensor, ...]
    versions: tuple[int, ...]

    @property
    def wrote_in_place(self) -> bool:
        return _versions(self.given) != self.versions


def _versions(tensors: Iterable[torch.Tensor]) -> tuple[int, ...]:
    """How often each tensor was written; inference tensors keep no count of that."""
    with torch._C.DisableTorchFunction():  # a mode that watches the forward need not see what we ask
        return tuple(0 if tensor.is_inference() else tensor._version for tensor in tensors)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Without large results to compute, further threads of torch have nothing to do, and spin while they wait."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
