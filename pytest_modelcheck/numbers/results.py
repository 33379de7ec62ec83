"""What a module computes under drawn weights, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pytest_modelcheck.numbers.sketch import Sketch
from pytest_modelcheck.numbers.watching import Place

Probe = Literal["plain", "quiet"]
PROBES: tuple[Probe, ...] = ("plain", "quiet")

TOLERANCE = 1e-4
"""Of an output's rms. The weakest planted fault (gelu by tanh) moves outputs by 4e-4; threads, instruction sets and
versions of torch by at most 3e-6, in T5 by 2e-5."""


SEE_NOTE = "see note"
"""Why no value of any output is locked: a note says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputNumbers:
    """One output under one probe.

    Attributes:
        sketch: What came out.
        unlocked: Why its values are not locked, e.g. ``"unstable (weights changed by 1e-05 move it by 7e-01)"``; empty
            where they are.
        tolerance: Largest distance that counts as equal.
    """

    sketch: Sketch
    unlocked: str = ""
    tolerance: float = TOLERANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleNumbers:
    """One module.

    Attributes:
        class_name: Of the module.
        weights: Name within the module -> shape, of what it owns and is drawn.
        numbers: (``in`` or ``out``, probe) -> one number per tensor; None for one that is too unstable to be compared.
    """

    class_name: str
    weights: tuple[tuple[str, tuple[int, ...]], ...] = ()
    numbers: Mapping[tuple[str, Probe], tuple[float | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What a module computes on ``inputs(0)`` with weights drawn by name: the function, whatever the checkpoint.

    Attributes:
        inputs: Input name -> sketch.
        outputs: Output name -> probe -> numbers.
        modules: Path -> numbers, in the order of the first call; a module that was not called and owns weights comes
            after its parent.
        dtypes: Of the weights.
        tied: Further name of a weight -> its first name.
        notes: What is not locked, and why; one sentence each.
        files: Initializer -> (dtype, shape, digest) of a case that is only a file.
        wiring: Output -> digest of what it is computed from, of a case that is only a file.
        events: Places of the modules' numbers in the order in which they were computed; empty for what was recorded.
        redraw: Names -> the same with weights drawn under those names; None where no module is at hand.
        settle: The same, with tolerances and what is unstable; slower. None where there is nothing to find.
    """

    inputs: Mapping[str, Sketch] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[Probe, OutputNumbers]] = field(default_factory=dict)
    modules: Mapping[str, ModuleNumbers] = field(default_factory=dict)
    dtypes: tuple[str, ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    files: Mapping[str, tuple[str, tuple[int, ...], str]] = field(default_factory=dict)
    wiring: Mapping[str, str] = field(default_factory=dict)
    events: tuple[Place, ...] = field(default=(), repr=False)
    redraw: Callable[[Mapping[str, str]], Numbers] | None = field(default=None, repr=False, compare=False)
    settle: Callable[[], Numbers] | None = field(default=None, repr=False, compare=False)

    @property
    def weights(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every drawn weight."""
        return {
            f"{path}.{name}" if path else name: shape
            for path, module in self.modules.items()
            for name, shape in module.weights
        }
