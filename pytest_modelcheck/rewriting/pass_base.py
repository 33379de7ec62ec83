"""`Pass`, the base of all passes, and `PassOutcome`, what running one gives."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import onnx_ir as ir

from pytest_modelcheck.result import Refused
from pytest_modelcheck.rewriting.rewriter import Rewriter
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes
from pytest_modelcheck.targets import Target

__all__ = ["Pass", "PassOutcome"]


@dataclass
class PassOutcome(ir.passes.PassResult):
    """A pass result that says how much was done and what was left alone.

    Attributes:
        rewrites: How many rewrites were made.
        refusals: Rewrites that were considered and not made, in graph order.
        notes: What the user has to know about what was done, e.g. which axis was frozen to which size.
        rules: The rule that made each rewrite, in order; `rewrites` of them.
        replaced: Name of a value -> the value that its readers read instead, which may have been replaced itself.
    """

    rewrites: int = 0
    refusals: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    replaced: Mapping[str, ir.Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Pass(ir.passes.InPlacePass):
    """One named graph rewrite. Subclasses set `name` and write `rewrite`.

    Attributes:
        target: What the result may contain: ``portable``, ``opset23`` or ``onnxruntime``.
        max_rewrites: Stop after this many rewrites; None for no limit (used to bisect inside a pass).
    """

    target: Target = "portable"
    max_rewrites: int | None = None

    name: ClassVar[str]
    rules: ClassVar[tuple[str, ...]] = ()
    """The names of its separate rewrites; empty for a pass with one, which is called like the pass."""
    changes_shapes: ClassVar[bool] = False
    """Whether the pass changes the declared shapes of graph inputs and outputs on purpose."""
    moves_factors: ClassVar[bool] = False
    """Whether what it puts in place of a value may be another multiple of it: `verify` then looks at outputs alone."""

    def call(self, model: ir.Model) -> PassOutcome:
        return self.run(model)

    def run(self, model: ir.Model, shapes: SymbolicShapes | None = None) -> PassOutcome:
        """Run the pass in place.

        Args:
            model: A prepared model (`pipeline.prepare`).
            shapes: What the passes before have derived about `model`; kept current.
        """
        rewriter = Rewriter(
            model,
            pass_name=self.name,
            target=self.target,
            max_rewrites=self.max_rewrites,
            rules=self.rules,
            shapes=shapes,
        )
        self.rewrite(rewriter)
        rewriter.finish()
        # A pass may come by the same place in several rounds.
        return PassOutcome(
            model,
            rewriter.rewrites > 0,
            rewriter.rewrites,
            refusals=tuple(dict.fromkeys(rewriter.refusals)),
            notes=tuple(rewriter.notes),
            rules=tuple(rewriter.fired),
            replaced=rewriter.replaced,
        )

    @abc.abstractmethod
    def rewrite(self, rewriter: Rewriter) -> None:
        """Edit ``rewriter.model`` through `rewriter` until nothing is left to do."""
