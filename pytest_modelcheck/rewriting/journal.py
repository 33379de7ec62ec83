"""What one pass has done, and left alone."""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.result import Refused


class Journal:
    """Counts rewrites and takes refusals and notes down.

    Attributes:
        fired: The rule that made each rewrite, in order.
        refusals: What was considered and not done, and why.
        notes: What the user has to know about what was done.
        replaced: Name of a value -> the value that its readers read instead.
    """

    def __init__(self, rules: tuple[str, ...], max_rewrites: int | None) -> None:
        self.fired: list[str] = []
        self.refusals: list[Refused] = []
        self.notes: list[str] = []
        self.replaced: dict[str, ir.Value] = {}
        self._rules = rules
        self._rule = rules[0]
        self._max_rewrites = max_rewrites

    def begin_rule(self, name: str) -> None:
        """Say which rule makes the rewrites from here on.

        A name that is not a rule of this pass changes nothing: a function of another pass, called for a rule of
        this one, works for that rule.
        """
        if name in self._rules:
            self._rule = name

    @property
    def rewrites(self) -> int:
        """How many rewrites have been made."""
        return len(self.fired)

    @property
    def exhausted(self) -> bool:
        """Whether `max_rewrites` has been reached."""
        return self._max_rewrites is not None and self.rewrites >= self._max_rewrites

    def edited(self) -> None:
        """Count one rewrite that was made in place (an attribute or an input exchanged)."""
        self.fired.append(self._rule)

    def refuse(self, reason: str, node: ir.Node) -> bool:
        """Record why a rewrite starting at `node` was not made; False, so that a guard can return it."""
        # An unnamed node is known by what it makes: values always have names where a node has readers.
        made = next((output.name for output in node.outputs if output.name), "")
        self.refusals.append(Refused(reason, node.name or made))
        return False

    def refuse_value(self, reason: str, value: ir.Value) -> bool:
        """`refuse`, for a rewrite that starts at a value without a producer."""
        self.refusals.append(Refused(reason, value.name or ""))
        return False

    def note(self, text: str) -> None:
        """Record something about the result that the user has to know."""
        self.notes.append(text)
