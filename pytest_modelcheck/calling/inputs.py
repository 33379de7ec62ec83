"""Example inputs: whatever `inputs(seed)` gives, as tensors by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_modelcheck.calling.axes import TorchDims, axes_of_inputs, named_dims, torch_dims
from pytest_modelcheck.calling.file_names import file_names, fits
from pytest_modelcheck.calling.seeding import seeded
from pytest_modelcheck.calling.sizes import Sizes, draw
from pytest_modelcheck.calling.structure import put_together, take_apart
from pytest_modelcheck.dimensions import Axes
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.recorder.windows import window


@dataclass(frozen=True, slots=True)
class ModuleInputs:
    """Example inputs, flat.

    Attributes:
        names: One name per tensor: the argument's own, or for a nested argument the path to it, e.g. ``"states.0"``.
        values: The tensors, on their own device.
        arguments: Argument name -> its value, every tensor replaced by its place; what is not a tensor is a constant.
            None: every tensor is an argument by its name.
        axes: Input name -> {axis: dimension}, of those that are dynamic.
        dims: The same as torch's own objects, where the case gives `dynamic_shapes`.
    """

    names: tuple[str, ...]
    values: tuple[torch.Tensor, ...]
    arguments: Mapping[str, Any] | None = None
    axes: Axes = field(default_factory=dict)
    dims: TorchDims = field(default_factory=dict)

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
        return {name: put_together(value, values) for name, value in self.arguments.items()}


def module_inputs(
    case: ModelCase, module: torch.nn.Module | inspect.Signature, seed: int, sizes: Sizes | None = None
) -> ModuleInputs:
    """The inputs of `case` for one seed, named after the forward's parameters where they came as a tuple.

    Args:
        case: Whose `inputs` are called.
        module: Whose forward takes them; or the signature of that forward, which outlives the module.
        seed: Handed to `inputs`; also torch's global seed meanwhile.
        sizes: Dimension -> size that is asked for; of a case that `offers_sizes` alone.

    Raises:
        ModelCaseError: if `inputs` raises, returns neither a dict nor a tuple, or no tensor in it; if dynamic shapes
            do not fit what it returns.
    """
    if case.inputs is None:
        raise ModelCaseError(f"{case.name}: has no inputs function")
    with seeded(seed), window(case.build):
        try:
            made = draw(case, seed, sizes)
        except (Exception, SystemExit) as error:
            raise ModelCaseError(f"{case.name}: inputs({seed}) raised {type(error).__name__}: {error}") from error
    if isinstance(made, torch.Tensor):
        made = (made,)
    if not isinstance(made, Mapping | list | tuple) or not len(made):
        raise ModelCaseError(
            f"{case.name}: inputs({seed}) must return a dict of tensors or a tuple of tensors, got "
            f"{'an empty ' if isinstance(made, Mapping | list | tuple) else ''}{type(made).__name__}"
        )
    forward = module if isinstance(module, inspect.Signature) else inspect.signature(module.forward)
    keys: tuple[str, ...] = ()
    if case.input_names is not None and isinstance(made, Mapping) and not fits(forward, tuple(made)):
        keys, made = tuple(made), tuple(made.values())  # under the file's names, in the order of the forward
    if not isinstance(made, Mapping):
        made = dict(zip(_positional_names(case, forward, len(made)), made, strict=True))
    given = dict(zip(made, keys, strict=False))
    leaves: dict[str, torch.Tensor] = {}
    try:
        arguments = {str(name): take_apart(value, str(name), leaves) for name, value in made.items()}
    except ModelCaseError as error:
        raise ModelCaseError(f"{case.name}: {error}") from None
    if not leaves:
        raise ModelCaseError(f"{case.name}: inputs({seed}) holds no tensor: {', '.join(arguments)}")
    names = tuple(given.get(name, name) for name in leaves)
    if case.input_names is not None:
        of_file = file_names(case, "input", names, case.input_names)
        names = tuple(of_file.get(name, name) for name in names)
    try:
        dims = torch_dims(case, names, arguments)
        axes = named_dims(dims) if dims else axes_of_inputs(case, names)
    except ModelCaseError as error:
        raise ModelCaseError(f"{case.name}: {error}") from None
    return ModuleInputs(names, tuple(leaves.values()), arguments, axes, dims)


def _positional_names(case: ModelCase, forward: inspect.Signature, count: int) -> tuple[str, ...]:
    names: list[str] = []
    for parameter in forward.parameters.values():
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


def describe(value: Any) -> str:
    """A tensor as ``"float32[2, 16]"``; anything else as its type's name."""
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return type(value).__name__
