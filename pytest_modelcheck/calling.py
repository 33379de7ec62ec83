"""How the module of a model case is built and called: the one place that knows its inputs and outputs.

Exporters, captures and accuracy all see the same flat view: inputs by name, outputs as an ordered mapping from name
to tensor, whatever the forward takes and returns (keywords, dataclasses, dicts, nested tuples).
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import BUILD_SEED, ModelCase


@dataclass(frozen=True, slots=True)
class ModuleInputs:
    """Example inputs in the order of `names`; `values` are tensors (or nested containers of them), on their own device."""

    names: tuple[str, ...]
    values: tuple[Any, ...]

    def as_dict(self) -> dict[str, Any]:
        return dict(zip(self.names, self.values, strict=True))


def build_module(case: ModelCase) -> torch.nn.Module:
    """Build the module of `case` under the fixed seed, in eval mode.

    The global random state of torch is left as it was found.

    Raises:
        ModelCaseError: if there is nothing to build, `build` raises, or it returns no module.
    """
    if case.build is None:
        raise ModelCaseError(f"{case.name}: is an .onnx file and has no torch module")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(BUILD_SEED)
        try:
            module = case.build()
        except Exception as error:
            raise ModelCaseError(f"{case.name}: build() raised {type(error).__name__}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise ModelCaseError(f"{case.name}: build() returned {type(module).__name__}, not a torch.nn.Module")
    return module.eval()


def module_inputs(case: ModelCase, module: torch.nn.Module, seed: int) -> ModuleInputs:
    """The inputs of `case` for one seed, named after the forward's parameters where they came as a tuple.

    Raises:
        ModelCaseError: if `inputs` raises, or returns neither a dict nor a tuple, or nothing.
    """
    if case.inputs is None:
        raise ModelCaseError(f"{case.name}: has no inputs function")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            made = case.inputs(seed)
        except Exception as error:
            raise ModelCaseError(f"{case.name}: inputs({seed}) raised {type(error).__name__}: {error}") from error
    if isinstance(made, torch.Tensor):
        made = (made,)
    if not isinstance(made, Mapping | Sequence) or isinstance(made, str) or not len(made):
        raise ModelCaseError(
            f"{case.name}: inputs({seed}) must return a dict of tensors or a tuple of tensors, got {type(made).__name__}"
        )
    if isinstance(made, Mapping):
        return ModuleInputs(tuple(made), tuple(made.values()))
    return ModuleInputs(_positional_names(case, module, len(made)), tuple(made))


def _positional_names(case: ModelCase, module: torch.nn.Module, count: int) -> tuple[str, ...]:
    names: list[str] = []
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{i}" for i in range(count - len(names))]
            return tuple(names)
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    if len(names) < count:
        raise ModelCaseError(
            f"{case.name}: inputs() gives {count} positional inputs, forward takes {len(names)}: {', '.join(names)}"
        )
    return tuple(names[:count])


@contextlib.contextmanager
def flat_forward(case: ModelCase, module: torch.nn.Module, names: Sequence[str]) -> Iterator[torch.nn.Module]:
    """The same module object with a forward that takes `names` in order and returns a flat tuple of tensors.

    The forward is set on the instance and taken off again, so that module paths, parameter names and hooks stay
    those of the user's module: a wrapper module would put its own name in front of each.
    """
    original = module.forward
    own = module.__dict__.get("forward")
    call = _by_name(original)

    def forward(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        bound = dict(zip(names, args, strict=False)) | kwargs
        return tuple(select_outputs(case, call({name: bound[name] for name in names})).values())

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in names]
    forward.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    module.forward = forward  # type: ignore[method-assign]
    try:
        yield module
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own  # type: ignore[method-assign]


def _by_name(forward: Callable[..., Any], call: Callable[..., Any] | None = None) -> Callable[[dict[str, Any]], Any]:
    """`call` (default: `forward` itself) as a function of a name -> value dict, by keyword wherever `forward` can."""
    call = call or forward
    kinds = {parameter.kind for parameter in inspect.signature(forward).parameters.values()}
    if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY}:
        return lambda named: call(*named.values())
    return lambda named: call(**named)


def run_module(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs) -> dict[str, torch.Tensor]:
    """One forward pass without gradients: output name -> tensor, in the order of the exported outputs.

    Raises:
        ModelCaseError: if the forward raises, or its outputs do not fit `output_names`.
    """
    with torch.no_grad():
        try:
            outputs = _by_name(module.forward, module)(inputs.as_dict())
        except Exception as error:
            shapes = ", ".join(f"{name}: {_describe(value)}" for name, value in inputs.as_dict().items())
            raise ModelCaseError(f"{case.name}: forward({shapes}) raised {type(error).__name__}: {error}") from error
    return select_outputs(case, outputs)


def select_outputs(case: ModelCase, outputs: Any) -> dict[str, torch.Tensor]:
    """Flatten what a forward returned into output name -> tensor.

    With `output_names`, a mapping or dataclass is picked by key or field; a tuple is named in order, and its length
    must fit. Without, every tensor is kept: mapping keys and field names joined with ``.``, sequence elements as
    ``output_0``, ``output_1``, ...; None is left out.

    Raises:
        ModelCaseError: if a named output does not exist, is not a tensor, or there is no tensor at all.
    """
    flat = dict(_flatten(outputs, ""))
    if not flat:
        raise ModelCaseError(f"{case.name}: the forward returned no tensor ({type(outputs).__name__})")
    if case.output_names is None:
        return flat
    wanted = tuple(case.output_names)
    if _named_fields(outputs) is None:
        if len(wanted) != len(flat):
            raise ModelCaseError(
                f"{case.name}: output_names has {len(wanted)} names ({', '.join(wanted)}) "
                f"for {len(flat)} output tensors"
            )
        return dict(zip(wanted, flat.values(), strict=True))
    missing = [name for name in wanted if name not in flat]
    if missing:
        raise ModelCaseError(
            f"{case.name}: the forward has no output tensor named {', '.join(missing)}; it has {', '.join(flat)}"
        )
    return {name: flat[name] for name in wanted}


def _named_fields(outputs: Any) -> Mapping[str, Any] | None:
    if isinstance(outputs, Mapping):  # transformers' ModelOutput is an OrderedDict
        return outputs
    if dataclasses.is_dataclass(outputs) and not isinstance(outputs, type):
        return {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}
    if isinstance(outputs, tuple) and hasattr(outputs, "_fields"):
        return dict(zip(outputs._fields, outputs, strict=True))
    return None


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield prefix or "output_0", value
    elif (fields := _named_fields(value)) is not None:
        for key, item in fields.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _flatten(item, f"{prefix}.{index}" if prefix else f"output_{index}")


def _describe(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return type(value).__name__
