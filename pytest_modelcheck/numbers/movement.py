"""How far outputs and modules move when all weights change by 1e-5: what is stable enough to be compared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

from pytest_modelcheck.numbers.drawing import WOBBLE
from pytest_modelcheck.numbers.results import PROBES, TOLERANCE, ModuleNumbers, Numbers, OutputNumbers, Probe
from pytest_modelcheck.numbers.sketch import Sketch
from pytest_modelcheck.numbers.watching import Place, Watched

_CHAOTIC = 5e-3
"""What moves by more of its rms is not compared."""

_STEADY = 1e-4
"""Where an output is not compared, modules decide instead: those that move by no more than this."""

_ALLOWED = 0.5
"""Share of the movement that counts as equal: a wobble is 1e-5, the noise between machines 3e-6."""


def moved_places(before: Watched, after: Watched, limit: float = TOLERANCE) -> Iterator[Place]:
    """The places of modules' numbers that differ between two forwards."""
    if before is not after:
        for path, direction, index in before.events:
            if _moved(before.numbers[path, direction], after.numbers.get((path, direction), []), index) > limit:
                yield path, direction, index


def _moved(before: list[float | None], after: list[float | None], index: int) -> float:
    old = before[index]
    new = after[index] if index < len(after) else None
    if old is None or new is None:
        return math.inf
    return abs(new - old) / abs(old) if old else math.inf if new else 0.0


class Movement:
    """The largest movement of everything in `base`, over several small changes of the weights."""

    def __init__(self, base: Numbers) -> None:
        self._base = base
        self._outputs: dict[tuple[str, Probe], float] = {}
        self._modules: dict[tuple[Probe, str, str, int], float] = {}

    def see(self, probe: Probe, outputs: Mapping[str, Sketch], watched: Watched) -> None:
        """Take in one forward under changed weights."""
        for name, probes in self._base.outputs.items():
            distance = probes[probe].sketch.distance(outputs[name]) if name in outputs else math.inf
            self._outputs[name, probe] = max(distance, self._outputs.get((name, probe), 0.0))
        for path, module in self._base.modules.items():
            for (direction, of), numbers in module.numbers.items():
                for index in range(len(numbers)) if of == probe else ():
                    key = (probe, path, direction, index)
                    moved = _moved(list(numbers), watched.numbers.get((path, direction), []), index)
                    self._modules[key] = max(moved, self._modules.get(key, 0.0))

    def numbers(self) -> Numbers:
        """`base`, with a tolerance for each output, and without what is too unstable."""
        outputs = {
            name: {probe: self._output(name, probe, made) for probe, made in probes.items()}
            for name, probes in self._base.outputs.items()
        }
        limits: dict[Probe, float] = {
            probe: _STEADY if any(probes[probe].unlocked for probes in outputs.values()) else _CHAOTIC
            for probe in PROBES
        }
        modules = {path: self._module(path, module, limits) for path, module in self._base.modules.items()}
        return dataclasses.replace(self._base, outputs=outputs, modules=modules, settle=None)

    def _output(self, name: str, probe: Probe, made: OutputNumbers) -> OutputNumbers:
        moved = self._outputs.get((name, probe), 0.0)
        if made.unlocked:
            return made
        if moved > _CHAOTIC:
            moves = "gives others" if math.isinf(moved) else f"moves it by {moved:.0e}"
            return dataclasses.replace(made, unlocked=f"unstable: a change of all weights by {WOBBLE:.0e} {moves}")
        return dataclasses.replace(made, tolerance=max(TOLERANCE, float(f"{_ALLOWED * moved:.1e}")))

    def _module(self, path: str, module: ModuleNumbers, limits: Mapping[Probe, float]) -> ModuleNumbers:
        kept = {
            (direction, probe): tuple(
                number if self._modules.get((probe, path, direction, index), 0.0) <= limits[probe] else None
                for index, number in enumerate(numbers)
            )
            for (direction, probe), numbers in module.numbers.items()
        }
        return dataclasses.replace(module, numbers=kept)
