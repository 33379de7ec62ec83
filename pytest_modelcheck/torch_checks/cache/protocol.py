"""How a model is called step by step: which inputs are cut, and how the cache goes in and out.

Three ways, each enough:

- A Hugging Face decoder needs nothing: `past_key_values` goes in and comes out, `use_cache` is set, and the inputs are
  known by their names (`input_ids` or `decoder_input_ids` are cut into chunks; `attention_mask` grows with them).
- A module with its own cache names it: ``cache=("past", "present")`` (argument, output field; for a tuple the index),
  ``sequence="x"`` (inputs with one entry per position) and ``grows="mask"`` (inputs given up to the last position).
- Anything else is a function ``step(module, inputs, cache) -> (outputs, cache)``: `inputs` holds this chunk's tensors
  by name, `cache` is None at the first chunk and afterwards what the call before returned. A module that keeps its
  cache itself returns those tensors, and takes them over when they are given.

The full pass is always the module's own forward on all positions at once, without a cache.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_modelcheck.calling import ModuleInputs, bind_arguments, describe, named_fields, select_outputs
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.model_case import ModelCase

Step = Callable[[torch.nn.Module, dict[str, torch.Tensor], Any], tuple[Any, Any]]

HUGGING_FACE_CACHE = "past_key_values"
_PRESENT = "present"
"""What wrappers for an export call the cache that comes out."""
_DECODER_CUT = ("decoder_input_ids", "decoder_inputs_embeds", "decoder_position_ids")
_CUT = ("input_ids", "inputs_embeds", "position_ids", "token_type_ids")


class NoCacheError(ModelCheckError):
    """A model that has no cache, or none that can be found: there is nothing to compare."""


class StepError(ModelCheckError):
    """A step that raised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheProtocol:
    """Where the positions and the cache are; what is None is recognised by the names of Hugging Face.

    Attributes:
        cache: Argument of the forward that takes the cache, and field (or index) of its outputs that returns it.
        sequence: Input -> axis with one entry per position; each chunk gets its own positions.
        grows: Input -> axis; each chunk gets all positions up to its end, such as an attention mask.
        step: Instead of `cache`: one call, see above.
        axis: Axis of the positions in the outputs.
        outputs: Which outputs to compare; None for all but the cache.
    """

    cache: tuple[str, str | int] | None = None
    sequence: Mapping[str, int] | None = None
    grows: Mapping[str, int] | None = None
    step: Step | None = None
    axis: int = 1
    outputs: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Stepper:
    """A module, one set of inputs, and the two ways to run them: in one full pass and step by step.

    Raises (when made):
        NoCacheError: if the forward takes no cache, or no input holds one entry per position.
    """

    case: ModelCase
    module: torch.nn.Module
    inputs: ModuleInputs
    protocol: CacheProtocol
    sequence: Mapping[str, int] = field(init=False)
    grows: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        if self.protocol.step is None:
            cut = self.protocol.sequence or (*_CUT, *_DECODER_CUT)
            object.__setattr__(self, "inputs", without_past(self.inputs, self._names()[0], tuple(cut)))
        sequence, grows = _axes(self.case, self.inputs, self.protocol)
        object.__setattr__(self, "sequence", sequence)
        object.__setattr__(self, "grows", grows)

    @property
    def positions(self) -> int:
        """Length of the sequence."""
        name, axis = next(iter(self.sequence.items()))
        return int(self.inputs.as_dict()[name].shape[axis])

    def full(self) -> dict[str, torch.Tensor]:
        """All positions in one pass, without a cache."""
        arguments = self.inputs.forward_arguments()
        parameters = inspect.signature(self.module.forward).parameters
        if "use_cache" in parameters:
            arguments["use_cache"] = False
        if self.protocol.step is None:
            cache_in, cache_out = self._names()
            if cache_in in parameters and parameters[cache_in].default is inspect.Parameter.empty:
                arguments.setdefault(cache_in, None)
        else:
            cache_out = None
        outputs = self._call("the full pass", lambda: _forward(self.module, arguments))
        return self._flat(outputs if cache_out is None else _without(outputs, self._out(outputs, cache_out)))

    def step(self, start: int, stop: int, cache: Any) -> tuple[dict[str, torch.Tensor], Any]:
        """The positions from `start` up to `stop` - 1, with the cache of all before; outputs and the next cache.

        Raises:
            StepError: if the module raises.
            NoCacheError: if it returns no cache.
        """
        values = [self._part(name, value, start, stop) for name, value in self.inputs.as_dict().items()]
        what = f"the step of positions {start}..{stop - 1} with {start} positions in the cache"
        if self.protocol.step is not None:
            named = dict(zip(self.inputs.names, values, strict=True))
            made = self._call(what, lambda: self.protocol.step(self.module, named, cache))  # type: ignore[misc]
            if not isinstance(made, tuple) or len(made) != 2:
                raise NoCacheError(f"{self.case.name}: step() must return (outputs, cache), got {type(made).__name__}")
            outputs, after = made
            return self._flat(outputs), after
        cache_in, cache_out = self._names()
        arguments = self.inputs.forward_arguments(values)
        if cache is not None or cache_in not in arguments:
            arguments[cache_in] = cache
        if "use_cache" in inspect.signature(self.module.forward).parameters:
            arguments["use_cache"] = True
        outputs = self._call(what, lambda: _forward(self.module, arguments))
        cache_out = self._out(outputs, cache_out)
        after = _taken(outputs, cache_out)
        if after is None:
            fields = named_fields(outputs)
            has = ", ".join(fields) if fields is not None else f"a {type(outputs).__name__}"
            raise NoCacheError(f"{self.case.name}: the forward returned no cache {cache_out!r}: it returned {has}")
        return self._flat(_without(outputs, cache_out)), after

    def _names(self) -> tuple[str, str | int]:
        names = self.protocol.cache or (HUGGING_FACE_CACHE, HUGGING_FACE_CACHE)
        parameters = inspect.signature(self.module.forward).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
        if names[0] not in parameters and not (self.protocol.cache and takes_any):
            raise NoCacheError(
                f"{self.case.name}: has no cache: the forward takes {', '.join(parameters)}, and no {names[0]!r}; "
                f'name the argument and the output that returns it, cache=("past", "present"), or give step=...'
            )
        return names

    def _out(self, outputs: Any, name: str | int) -> str | int:
        """The output that is the cache: where none was named, also one that is called ``present``."""
        fields = named_fields(outputs) or {}
        return _PRESENT if self.protocol.cache is None and name not in fields and _PRESENT in fields else name

    def _part(self, name: str, value: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        if name in self.sequence:
            value = value.narrow(self.sequence[name], start, stop - start)
        if name in self.grows:
            value = value.narrow(self.grows[name], 0, stop)
        return value.clone()  # a step that writes into its inputs must not change those of the next

    def _flat(self, outputs: Any) -> dict[str, torch.Tensor]:
        wanted = self.protocol.outputs or self.case.output_names
        fields = named_fields(outputs)
        if fields is None or wanted is None:
            flat = select_outputs(_unnamed(self.case, None), outputs)
            missing = [name for name in self.protocol.outputs or () if name not in flat]
            if missing:
                raise NoCacheError(f"{self.case.name}: no output {', '.join(missing)}; there is {', '.join(flat)}")
            return {name: flat[name] for name in self.protocol.outputs or flat}
        names = [name for name in wanted if self.protocol.outputs or name.partition(".")[0] in fields]
        return select_outputs(_unnamed(self.case, names), outputs)

    def _call(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except (Exception, SystemExit) as error:
            shapes = ", ".join(f"{name}: {describe(value)}" for name, value in self.inputs.as_dict().items())
            raise StepError(
                f"{self.case.name}: {what} raised {type(error).__name__}: {error} (all inputs: {shapes})"
            ) from error


def without_past(inputs: ModuleInputs, argument: str, cut: Collection[str]) -> ModuleInputs:
    """The inputs with an empty past, where they hold one: as an export with a cache needs it.

    A padding mask over past and new positions, (batch, past + sequence), loses those of the past. The encoder's part of
    a cache stays: it does not grow.

    Args:
        inputs: Of a case.
        argument: Which of them is the cache.
        cut: Names of inputs with one entry per new position.
    """
    values = inputs.as_dict()
    past = [
        name
        for name in values
        if (name == argument or name.startswith(f"{argument}.")) and ".encoder." not in name and values[name].ndim > 2
    ]
    lengths = {int(values[name].shape[-2]) for name in past}
    if len(lengths) != 1:
        return inputs
    (length,) = lengths
    new = {value.shape[1] for name, value in values.items() if name in cut and value.ndim > 1}
    for name, value in values.items():
        if name in past:
            values[name] = value.narrow(-2, 0, 0)
        elif "mask" in name and value.ndim == 2 and value.shape[1] - length in new:
            values[name] = value[:, length:]
    return dataclasses.replace(inputs, values=tuple(values[name] for name in inputs.names))


def _unnamed(case: ModelCase, names: list[str] | None) -> ModelCase:
    return dataclasses.replace(case, output_names=names)


def _forward(module: torch.nn.Module, arguments: dict[str, Any]) -> Any:
    positional, named = bind_arguments(module.forward, arguments)
    return module(*positional, **named)


def _taken(outputs: Any, name: str | int) -> Any:
    if isinstance(name, int):
        return outputs[name] if isinstance(outputs, list | tuple) and -len(outputs) <= name < len(outputs) else None
    fields = named_fields(outputs)
    return None if fields is None else fields.get(name)


def _without(outputs: Any, name: str | int) -> Any:
    """The outputs, the cache left out."""
    if isinstance(name, int):
        if not isinstance(outputs, list | tuple):
            return outputs
        return tuple(item for index, item in enumerate(outputs) if index != name % len(outputs))
    fields = named_fields(outputs)
    return outputs if fields is None else {key: value for key, value in fields.items() if key != name}


def _axes(
    case: ModelCase, inputs: ModuleInputs, protocol: CacheProtocol
) -> tuple[Mapping[str, int], Mapping[str, int]]:
    names = inputs.names
    if protocol.sequence is None:
        cut = [name for name in _DECODER_CUT if name in names] or [name for name in _CUT if name in names]
        mask = "decoder_attention_mask" if cut and cut[0] in _DECODER_CUT else "attention_mask"
        sequence = dict.fromkeys(cut, 1)
        grows = {mask: 1} if mask in names and protocol.grows is None else protocol.grows or {}
    else:
        sequence, grows = dict(protocol.sequence), protocol.grows or {}
    if not sequence:
        raise NoCacheError(
            f"{case.name}: which inputs hold one entry per position? There is {', '.join(names)}; "
            f'name them, e.g. sequence={{"{names[0]}": 1}} (input -> axis)'
        )
    tensors = inputs.as_dict()
    lengths = []
    for name, axis in (*sequence.items(), *grows.items()):
        if name not in tensors:
            raise NoCacheError(f"{case.name}: there is no input {name!r}; there is {', '.join(names)}")
        if not -tensors[name].ndim <= axis < tensors[name].ndim:
            raise NoCacheError(f"{case.name}: input {name!r} is {describe(tensors[name])} and has no axis {axis}")
        lengths.append((name, int(tensors[name].shape[axis])))
    if len({length for _, length in lengths}) != 1:
        shown = ", ".join(f"{name} {length}" for name, length in lengths)
        raise NoCacheError(f"{case.name}: inputs of one sequence have different lengths: {shown}")
    return sequence, grows
