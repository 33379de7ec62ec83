"""Which modules ran, from where they were called, and what became of their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_modelcheck.hierarchy.alignment import TorchOp


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleCalls:
    """The module tree and what one forward pass did with it.

    Attributes:
        classes: Module path -> class name, every module of the tree once, under its first name; ``""`` is the root.
        parameters: Full parameter or buffer name -> path of its module. A tensor that several modules share is listed
            under each of its names.
        weights: Name -> number of elements of every parameter, and of the buffers of norms (running statistics, frozen
            weights); other buffers are constants. None where there is no module to ask.
        stacks: Call stack, outermost first and starting with ``""`` -> how often it occurred, in order of first call.
        counts: Module path -> how often it was called.
        passed_through: Modules that returned one of their own inputs unchanged in every call (`nn.Identity`, Dropout in
            eval mode): there is nothing that a node could do for them.
        unused: Modules that worked, and nothing of what they computed reaches an output.
        constant: Modules that worked, and whose results depend on no input: an exporter may fold them into a constant.
        norm_sources: BatchNorm -> the module whose output it normalizes, where that is one module: an exporter may fold
            it into that module's convolution.
        pad_readers: Padding module -> the convolution that reads its output, where that is one: an exporter may fold it
            into that convolution's pads.
        trace: The ATen operators that lead to the outputs, in the order in which they ran.
    """

    classes: Mapping[str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, int] | None = None
    stacks: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    passed_through: frozenset[str] = frozenset()
    unused: frozenset[str] = frozenset()
    constant: frozenset[str] = frozenset()
    norm_sources: Mapping[str, str] = field(default_factory=dict)
    pad_readers: Mapping[str, str] = field(default_factory=dict)
    trace: tuple[TorchOp, ...] = field(default=(), repr=False)

    @property
    def ran(self) -> tuple[str, ...]:
        """Paths of the modules that were called, in order of first call."""
        return tuple(self.counts)

    @property
    def accountable(self) -> tuple[str, ...]:
        """Those of `ran` that an export must show: whose work depends on an input and reaches an output."""
        excused = self.passed_through | self.unused | self.constant
        return tuple(path for path in self.counts if path not in excused)
