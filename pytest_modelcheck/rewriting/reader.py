"""What a pass may ask about the model it works on, and how it says what it left alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.readers import reads
from pytest_modelcheck.graph.scopes import Scope, all_scopes
from pytest_modelcheck.result import Refused
from pytest_modelcheck.targets import Target


class Reader:
    """Looks at one model on behalf of one pass; counts rewrites, and keeps refusals and notes."""

    def __init__(
        self,
        model: ir.Model,
        *,
        pass_name: str,
        target: Target,
        max_rewrites: int | None = None,
        rules: tuple[str, ...] = (),
    ) -> None:
        self.model = model
        self.pass_name = pass_name
        self.target = target
        self.fired: list[str] = []
        """The rule that made each rewrite, in order."""
        self._rules = rules or (pass_name,)
        self._rule = self._rules[0]
        self.refusals: list[Refused] = []
        self.notes: list[str] = []
        self._max_rewrites = max_rewrites
        self._scopes = all_scopes(model)

    def scopes(self) -> Iterator[Scope]:
        """The main graph, then every subgraph, then every function and its subgraphs."""
        # Listed once: no rewrite makes a subgraph, and one that died with its node is empty.
        yield from self._scopes

    def nodes(self, *op_types: str) -> Iterator[ir.Node]:
        """Standard-domain nodes of these op types (all nodes of any domain, if none is given) in every scope.

        The list is taken at the start of each scope; nodes that a rewrite removed meanwhile are skipped.
        """
        for scope in self._scopes:
            for node in tuple(scope):
                if node.graph is None or self.exhausted:
                    continue
                if not op_types or (node.domain == "" and node.op_type in op_types):
                    yield node

    def begin_rule(self, name: str) -> None:
        """Say which rule makes the rewrites from here on.

        A name that is no rule of this pass changes nothing: a function of another pass, called on behalf of a rule of
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

    def opset(self, domain: str = "") -> int:
        """The imported opset version of a domain; 0 where it is not imported."""
        return self.model.opset_imports.get(domain, 0)

    @staticmethod
    def constant(value: ir.Value | None) -> np.ndarray[Any, Any] | None:
        """The content of a constant value, else None.

        Constant means: the output of a Constant node, or an initializer that is not at the same time a graph input
        (such a one is a default that the caller may override).
        """
        if value is None or value.is_graph_input():
            return None
        tensor = ir.convenience.get_const_tensor(value)
        return None if tensor is None else tensor.numpy()

    @staticmethod
    def only_use(value: ir.Value) -> bool:
        """Whether `value` is read exactly once and is no graph output: free to disappear into a rewrite."""
        return reads(value) == 1 and not value.is_graph_output()

    @staticmethod
    def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
        """The shape of `value` where every dimension is a known integer, else None."""
        if value is None or value.shape is None or not all(isinstance(dim, int) for dim in value.shape):
            return None
        return tuple(int(dim) for dim in value.shape)  # type: ignore[arg-type]

    def import_domain(self, domain: str, version: int) -> None:
        """Make the model and its functions import `domain`, where they do not yet."""
        self.model.opset_imports.setdefault(domain, version)
        for function in self.model.functions.values():
            function.opset_imports.setdefault(domain, version)

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
