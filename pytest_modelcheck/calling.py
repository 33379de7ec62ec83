"""How the module of a model case is built and called: the one place that knows its inputs and outputs.

Exporters, captures and accuracy all see the same flat view: inputs and outputs as ordered mappings from name to tensor,
whatever the forward takes and returns (keywords, dataclasses, dicts, nested tuples, caches).
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import keyword
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import BUILD_SEED, ModelCase


@dataclass(frozen=True, slots=True)
class _Leaf:
    """The place of input tensor number `index` in the arguments of the forward."""

    index: int


@dataclass(frozen=True, slots=True)
class ModuleInputs:
    """Example inputs, flat.

    Attributes:
        names: One name per tensor: the argument's own, or for a nested argument the path to it, e.g. ``"states.0"``.
        values: The tensors, on their own device.
        arguments: Argument name -> its value with every tensor replaced by its place; what is no tensor is a constant.
            None: every tensor is an argument by its name.
    """

    names: tuple[str, ...]
    values: tuple[torch.Tensor, ...]
    arguments: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, torch.Tensor]:
        """Input name -> tensor, in order."""
        return dict(zip(self.names, self.values, strict=True))

    def forward_arguments(self, values: Sequence[Any] | None = None) -> dict[str, Any]:
        """Argument name -> value as the forward takes it, made of `values` (default: the example's own tensors)."""
        values = self.values if values is None else values
        if len(values) != len(self.names):
            raise ModelCaseError(f"{len(values)} values for {len(self.names)} inputs: {', '.join(self.names)}")
        if self.arguments is None:
            return dict(zip(self.names, values, strict=True))
        return {name: _fill(value, values) for name, value in self.arguments.items()}


# -- building -----------------------------------------------------------------------------------------------------


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
        except (Exception, SystemExit) as error:
            raise ModelCaseError(f"{case.name}: build() raised {type(error).__name__}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise ModelCaseError(f"{case.name}: build() returned {type(module).__name__}, not a torch.nn.Module")
    return module.eval()


def module_inputs(case: ModelCase, module: torch.nn.Module, seed: int) -> ModuleInputs:
    """The inputs of `case` for one seed, named after the forward's parameters where they came as a tuple.

    Raises:
        ModelCaseError: if `inputs` raises, returns neither a dict nor a tuple, or no tensor in it.
    """
    if case.inputs is None:
        raise ModelCaseError(f"{case.name}: has no inputs function")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            made = case.inputs(seed)
        except (Exception, SystemExit) as error:
            raise ModelCaseError(f"{case.name}: inputs({seed}) raised {type(error).__name__}: {error}") from error
    if isinstance(made, torch.Tensor):
        made = (made,)
    if not isinstance(made, Mapping | list | tuple) or not len(made):
        raise ModelCaseError(
            f"{case.name}: inputs({seed}) must return a dict of tensors or a tuple of tensors, got "
            f"{'an empty ' if isinstance(made, Mapping | list | tuple) else ''}{type(made).__name__}"
        )
    if not isinstance(made, Mapping):
        made = dict(zip(_positional_names(case, module, len(made)), made, strict=True))
    leaves: dict[str, torch.Tensor] = {}
    arguments = {str(name): _take_leaves(case, value, str(name), leaves) for name, value in made.items()}
    if not leaves:
        raise ModelCaseError(f"{case.name}: inputs({seed}) holds no tensor: {', '.join(arguments)}")
    return ModuleInputs(tuple(leaves), tuple(leaves.values()), arguments)


def _take_leaves(case: ModelCase, value: Any, path: str, leaves: dict[str, torch.Tensor]) -> Any:
    """`value` with its tensors replaced by their places; the tensors are added to `leaves` under their paths."""
    if isinstance(value, torch.Tensor):
        if path in leaves:
            raise ModelCaseError(f"{case.name}: two input tensors have the name {path!r}")
        leaves[path] = value
        return _Leaf(len(leaves) - 1)
    if isinstance(value, Mapping):
        return {key: _take_leaves(case, item, f"{path}.{key}", leaves) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_take_leaves(case, item, f"{path}.{index}", leaves) for index, item in enumerate(value)]
        return _like_sequence(value, items)
    if value is None or isinstance(value, bool | int | float | complex | str | torch.dtype | torch.device):
        return value
    raise ModelCaseError(
        f"{case.name}: input {path!r} is a {type(value).__name__}; an input is a tensor, a dict, list or tuple of "
        f"tensors, or a plain constant (torch.from_numpy makes a tensor of an array)"
    )


def _fill(value: Any, tensors: Sequence[Any]) -> Any:
    if isinstance(value, _Leaf):
        return tensors[value.index]
    if isinstance(value, dict):
        return {key: _fill(item, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return _like_sequence(value, [_fill(item, tensors) for item in value])
    return value


def _like_sequence(original: Sequence[Any], items: list[Any]) -> Any:
    if hasattr(original, "_fields"):
        return type(original)(*items)
    return tuple(items) if isinstance(original, tuple) else items


def _positional_names(case: ModelCase, module: torch.nn.Module, count: int) -> tuple[str, ...]:
    names: list[str] = []
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            names += [f"{parameter.name}_{i}" for i in range(count - len(names))]
            return tuple(names[:count])
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    if len(names) < count:
        raise ModelCaseError(
            f"{case.name}: inputs() gives {count} positional inputs, forward takes {len(names)}: {', '.join(names)}"
        )
    return tuple(names[:count])


# -- calling ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def flat_forward(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs) -> Iterator[torch.nn.Module]:
    """The same module object with a forward that takes one tensor per input name and returns a flat tuple of tensors.

    The forward is set on the instance and taken off again, so that module paths, parameter names and hooks stay
    those of the user's module: a wrapper module would put its own name in front of each. Buffers get their content
    back, too.
    """
    original = module.forward
    own = module.__dict__.get("forward")
    names = _identifiers(inputs.names)

    def forward(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        given = dict(zip(names, args, strict=False)) | kwargs
        if len(args) + len(kwargs) != len(names) or len(given) != len(names):
            raise TypeError(f"{case.name}: takes {', '.join(names)}; got {len(args)} values and {', '.join(kwargs)}")
        positional, named = _bind(original, inputs.forward_arguments([given[name] for name in names]))
        return tuple(select_outputs(case, original(*positional, **named)).values())

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    forward.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])  # type: ignore[attr-defined]
    module.forward = forward
    try:
        with unchanged_buffers(module):
            yield module
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own


def _identifiers(names: Sequence[str]) -> list[str]:
    """`names` made usable as parameter names, all different."""
    made: list[str] = []
    for name in names:
        identifier = re.sub(r"\W", "_", name)
        if not identifier.isidentifier() or keyword.iskeyword(identifier):
            identifier = f"input_{identifier}"
        while identifier in made:
            identifier += "_"
        made.append(identifier)
    return made


def _bind(forward: Callable[..., Any], named: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """`named` as the arguments of one call: by keyword wherever `forward` can, in its own order where it cannot."""
    parameters = inspect.signature(forward).parameters.values()
    rest = dict(named)
    positional: list[Any] = []
    if any(parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY) for parameter in parameters):
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                if parameter.name not in rest:
                    break
                positional.append(rest.pop(parameter.name))
            elif parameter.kind is parameter.VAR_POSITIONAL:
                positional += [rest.pop(name) for name in list(rest) if re.fullmatch(rf"{parameter.name}_\d+", name)]
    return tuple(positional), rest


def run_module(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs) -> dict[str, torch.Tensor]:
    """One forward pass without gradients: output name -> tensor, in the order of the exported outputs.

    Buffers that the forward writes get their content back: every call starts from the state that `build` made.

    Raises:
        ModelCaseError: if the forward raises, or its outputs do not fit `output_names`.
    """
    with torch.no_grad(), unchanged_buffers(module):
        try:
            positional, named = _bind(module.forward, inputs.forward_arguments())
            outputs = module(*positional, **named)
        except (Exception, SystemExit) as error:
            shapes = ", ".join(f"{name}: {describe(value)}" for name, value in inputs.as_dict().items())
            raise ModelCaseError(f"{case.name}: forward({shapes}) raised {type(error).__name__}: {error}") from error
    return select_outputs(case, outputs)


@contextlib.contextmanager
def eval_mode(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """`module` with every submodule in eval mode; each gets its own mode back."""
    modes = {submodule: submodule.training for submodule in module.modules()}
    module.eval()
    try:
        yield module
    finally:
        for submodule, training in modes.items():
            submodule.training = training


@contextlib.contextmanager
def unchanged_buffers(module: torch.nn.Module) -> Iterator[None]:
    """Give every buffer of `module` its content back at the end: a forward may count its calls or keep a state."""
    saved = [
        (owner, name, buffer, buffer.detach().clone())
        for owner in module.modules()
        for name, buffer in owner._buffers.items()
        if buffer is not None and not torch.nn.parameter.is_lazy(buffer) and buffer.layout is torch.strided
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for owner, name, buffer, content in saved:
                owner._buffers[name] = buffer
                if not buffer.is_meta and not torch.equal(buffer, content):
                    buffer.copy_(content)


# -- outputs ------------------------------------------------------------------------------------------------------


def select_outputs(case: ModelCase, outputs: Any) -> dict[str, torch.Tensor]:
    """Flatten what a forward returned into output name -> tensor.

    With `output_names`, a mapping or dataclass is picked by key or field (a field that holds several tensors gives all
    of them); a tuple is named in order, and its length must fit. Without, every tensor is kept: mapping keys, field
    names and indices joined with ``.``, elements of a sequence as ``output_0``, ``output_1``, ...; None is left out.
    A key/value cache gives ``<field>.<layer>.key`` and ``<field>.<layer>.value``.

    Raises:
        ModelCaseError: if a named output does not exist, something is neither a tensor nor None, or there is no tensor.
    """
    wanted = None if case.output_names is None else tuple(case.output_names)
    fields = _named_fields(outputs)
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


def _named_fields(outputs: Any) -> Mapping[str, Any] | None:
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
    elif (fields := _cache_fields(value)) is not None or (fields := _named_fields(value)) is not None:
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
    layers = getattr(value, "layers", None)
    if not isinstance(layers, list) or not all(hasattr(layer, "keys") and hasattr(layer, "values") for layer in layers):
        return None
    return {str(index): {"key": layer.keys, "value": layer.values} for index, layer in enumerate(layers)}


def weight_bytes(module: torch.nn.Module) -> int:
    """Bytes of all parameters and buffers, shared ones counted once; of a sparse tensor those of its dense form."""
    return sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))


def describe(value: Any) -> str:
    """A tensor as ``"float32[2, 16]"``; anything else as its type's name."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return type(value).__name__
