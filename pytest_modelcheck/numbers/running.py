"""Running a module under drawn weights: two probes, their stability, the same under other names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch

from pytest_modelcheck.calling import ModuleInputs, module_inputs, run_module, seeded
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import EXAMPLE_SEED, ModelCase
from pytest_modelcheck.numbers.choices import Choices
from pytest_modelcheck.numbers.drawing import HALVES, QUIET, Drawable, drawable, drawn_weights
from pytest_modelcheck.numbers.inventory import module_numbers, not_drawn
from pytest_modelcheck.numbers.movement import Movement, moved_places
from pytest_modelcheck.numbers.results import PROBES, SEE_NOTE, TOLERANCE, Numbers, OutputNumbers, Probe
from pytest_modelcheck.numbers.sketch import Sketch, sketch
from pytest_modelcheck.numbers.watching import Watched, watching
from pytest_modelcheck.runtimes.freed_memory import return_freed_memory

_WOBBLES = 4
"""Times that all weights are changed a little when something is recorded: two directions and their opposites. Noise of
1e-6 turns over a choice between scores that lie closer than that; a change of 1e-5 moves them by more in nine of ten
directions, and one of its signs turns the choice over."""

_RANDOM = "random: it varies with torch's seed"
_LOST = "the quiet probe comes to other choices than the plain one"


@dataclass(slots=True)
class _Run:
    """One forward."""

    outputs: dict[str, Sketch]
    watched: Watched
    choices: Choices


@dataclass(frozen=True)
class Subject:
    """A module that is run under drawn weights.

    Attributes:
        case: Whose inputs are drawn and whose outputs are selected.
        module: Gives the module; it may have to build it again.
        files: Initializers of a shipped file of the module, as in `Numbers`.
    """

    case: ModelCase
    module: Callable[[], torch.nn.Module]
    files: Mapping[str, tuple[str, tuple[int, ...], str]] = field(default_factory=dict)

    def numbers(self, keys: Mapping[str, str] | None = None) -> Numbers:
        """Both probes, once. `keys` as in `drawn_weights`.

        Raises:
            ModelCaseError: if inputs or forward raise under the weights of build(), too.
        """
        module = self.module()
        inputs = self._inputs(module)
        found = drawable(module)
        keys = None if keys is None else _possible(found, keys)
        notes = not_drawn(module, found)
        given = _in_float32(inputs) if _halved(found) else inputs
        locked = _equal(inputs, self._inputs(module))
        if not locked:
            notes += ("not locked: values; inputs(0) differs from call to call, draw it from its seed",)
        try:
            runs, unlocked = self._probes(module, found, given, keys)
        except ModelCaseError as error:
            runs, unlocked = dict.fromkeys(PROBES, self._run(module, inputs)), {}
            how = "in float32 with drawn weights" if _halved(found) else "with drawn weights"
            reason = str(error).partition(") raised ")[2].partition("\n")[0] or str(error)
            notes += (f"not locked: values; forward() does not run {how}: {reason}",)
            locked = False
        plain = runs["plain"]
        made = Numbers(
            inputs={name: _input(value, locked) for name, value in inputs.as_dict().items()},
            outputs={
                name: {
                    probe: OutputNumbers(
                        sketch=run.outputs.get(name, before),
                        unlocked=unlocked.get((name, probe), "") if locked else SEE_NOTE,
                    )
                    for probe, run in runs.items()
                }
                for name, before in plain.outputs.items()
            },
            modules=module_numbers(module, found, {probe: run.watched for probe, run in runs.items()}, locked),
            dtypes=found.dtypes,
            tied={alias: weight.name for weight in found.weights for alias in weight.aliases},
            notes=notes,
            files=self.files,
            events=tuple(plain.watched.events) if locked else (),
            redraw=self.numbers,
        )
        return dataclasses.replace(made, settle=partial(self._settled, made, plain.choices)) if locked else made

    def _inputs(self, module: torch.nn.Module) -> ModuleInputs:
        return module_inputs(self.case, module, EXAMPLE_SEED)

    def _probes(
        self, module: torch.nn.Module, found: Drawable, given: ModuleInputs, keys: Mapping[str, str] | None
    ) -> tuple[dict[Probe, _Run], dict[tuple[str, Probe], str]]:
        with drawn_weights(found, keys) as weights:
            plain = self._run(module, given)
            random = self._run(module, given, seed=1) if plain.choices.random else plain
            weights.quieten()
            quiet = self._run(module, _quiet(given), taken=plain.choices)
        for place in moved_places(plain.watched, random.watched):
            plain.watched.forget(place)
            quiet.watched.forget(place)
        unlocked: dict[tuple[str, Probe], str] = {}
        for name, before in plain.outputs.items():
            if quiet.choices.lost or name not in quiet.outputs:
                unlocked[name, "quiet"] = _LOST
            if name not in random.outputs or before.distance(random.outputs[name]) > TOLERANCE:
                unlocked |= {(name, probe): _RANDOM for probe in PROBES}
        return {"plain": plain, "quiet": quiet}, unlocked

    def _run(
        self, module: torch.nn.Module, inputs: ModuleInputs, *, taken: Choices | None = None, seed: int = 0
    ) -> _Run:
        choices = Choices(None if taken is None else taken.made)
        for watcher in (choices, None):
            try:
                with seeded(seed), watching(module, inputs.values) as watched:
                    outputs = run_module(self.case, module, inputs, watching=watcher)
                break
            except ModelCaseError:  # some forwards do not run under a dispatch mode
                if watcher is None:
                    raise
            finally:
                if choices.higher_order:
                    torch._dynamo.reset()  # what it compiled under a dispatch mode fails without
        return _Run({name: sketch(value) for name, value in outputs.items()}, watched, choices)

    def _settled(self, base: Numbers, chosen: Choices) -> Numbers:
        """`base` with tolerances, and without what a small change of all weights moves too far."""
        module = self.module()
        inputs, found = self._inputs(module), drawable(module)
        given = _in_float32(inputs) if _halved(found) else inputs
        moved = Movement(base)
        return_freed_memory(collect=False)  # the next copy of the weights comes on top of what the last one left
        with drawn_weights(found) as weights:
            for _ in range(_WOBBLES):
                weights.wobble()
                run = self._run(module, given)
                moved.see("plain", run.outputs, run.watched)
                weights.quieten()
                run = self._run(module, _quiet(given), taken=chosen)
                moved.see("quiet", run.outputs, run.watched)
                weights.plain_again()
        return moved.numbers()


def _possible(found: Drawable, keys: Mapping[str, str]) -> dict[str, str]:
    """`keys` without those that would draw two weights alike whose own values differ."""
    own = {weight.name: weight.tensor for weight in found.weights}
    return {
        name: key
        for name, key in keys.items()
        if name in own and (key not in own or key in keys or torch.equal(own[name], own[key]))
    }


def _halved(found: Drawable) -> bool:
    return bool(found.halves) or any(weight.tensor.dtype in HALVES for weight in found.weights)


def _in_float32(inputs: ModuleInputs) -> ModuleInputs:
    values = tuple(value.float() if value.dtype in HALVES else value for value in inputs.values)
    return dataclasses.replace(inputs, values=values)


def _quiet(inputs: ModuleInputs) -> ModuleInputs:
    values = tuple(value * QUIET if value.is_floating_point() else value for value in inputs.values)
    return dataclasses.replace(inputs, values=values)


def _equal(first: ModuleInputs, second: ModuleInputs) -> bool:
    return first.names == second.names and all(
        sketch(a) == sketch(b) for a, b in zip(first.values, second.values, strict=True)
    )


def _input(value: torch.Tensor, locked: bool) -> Sketch:
    made = sketch(value)
    return made if locked else Sketch(dtype=made.dtype, shape=made.shape)
