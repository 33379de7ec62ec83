"""One call of a module: by name in, by name out."""

from __future__ import annotations

import contextlib
import inspect
import keyword
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from pytest_modelcheck.calling.build import unchanged_buffers
from pytest_modelcheck.calling.inputs import ModuleInputs, describe
from pytest_modelcheck.calling.outputs import select_outputs
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.recorder.windows import window


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
        positional, named = bind_arguments(original, inputs.forward_arguments([given[name] for name in names]))
        return tuple(select_outputs(case, original(*positional, **named), inputs.names).values())

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


def bind_arguments(forward: Callable[..., Any], named: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
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


def run_module(
    case: ModelCase,
    module: torch.nn.Module,
    inputs: ModuleInputs,
    *,
    watching: contextlib.AbstractContextManager[Any] | None = None,
) -> dict[str, torch.Tensor]:
    """One forward pass without gradients: output name -> tensor, in the order of the exported outputs.

    Buffers that the forward writes get their content back: every call starts from the state that `build` made.

    Args:
        case: Says which outputs are selected.
        module: The case's module.
        inputs: Its inputs.
        watching: Entered around the forward alone, such as one of torch's dispatch modes.

    Raises:
        ModelCaseError: if the forward raises, or its outputs do not fit `output_names`.
    """
    with torch.no_grad(), unchanged_buffers(module):
        try:
            positional, named = bind_arguments(module.forward, inputs.forward_arguments())
            with window(case.build), watching or contextlib.nullcontext():
                outputs = module(*positional, **named)
        except (Exception, SystemExit) as error:
            shapes = ", ".join(f"{name}: {describe(value)}" for name, value in inputs.as_dict().items())
            raise ModelCaseError(f"{case.name}: forward({shapes}) raised {type(error).__name__}: {error}") from error
    return select_outputs(case, outputs, inputs.names)
