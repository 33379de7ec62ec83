"""What all passes share: the `Pass` base and the `Rewriter`, through which every edit of a graph goes.

Because no pass edits a graph by itself, each rewrite is counted, each refusal has a reason, outputs keep their names,
owners survive, and a bisection can stop a pass after its first n rewrites. Looking is in reading.py, and making nodes
and constants in making.py.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from pytest_modelcheck.graph.metadata import merge_metadata
from pytest_modelcheck.graph.readers import is_needed
from pytest_modelcheck.graph.scopes import Scope, captured, detach_subgraphs, is_sorted
from pytest_modelcheck.result import Refused
from pytest_modelcheck.rewriting.maker import Maker
from pytest_modelcheck.targets import Target

__all__ = ["Pass", "PassOutcome", "Rewriter", "Scope", "Target"]


_NAME_LOST = "its output is a graph output and the replacement cannot take that name"


@dataclass
class PassOutcome(ir.passes.PassResult):
    """A pass result that says how much was done and what was left alone.

    Attributes:
        rewrites: How many rewrites were made.
        refusals: Rewrites that were considered and not made, in graph order.
        notes: What the user has to know about what was done, e.g. which axis was frozen to which size.
        rules: The rule that made each rewrite, in order; `rewrites` of them.
    """

    rewrites: int = 0
    refusals: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


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

    def call(self, model: ir.Model) -> PassOutcome:
        rewriter = Rewriter(
            model, pass_name=self.name, target=self.target, max_rewrites=self.max_rewrites, rules=self.rules
        )
        self.rewrite(rewriter)
        rewriter.finish()
        # A pass may come by the same place in several rounds.
        refusals, notes = tuple(dict.fromkeys(rewriter.refusals)), tuple(rewriter.notes)
        return PassOutcome(model, rewriter.rewrites > 0, rewriter.rewrites, refusals, notes, tuple(rewriter.fired))

    @abc.abstractmethod
    def rewrite(self, rewriter: Rewriter) -> None:
        """Edit ``rewriter.model`` through `rewriter` until nothing is left to do."""


class Rewriter(Maker):
    """Edits one model on behalf of one pass."""

    def can_replace_value(self, old: ir.Value, new: ir.Value) -> bool:
        """Whether `new` may stand for `old` everywhere, names of graph outputs kept.

        False where `old` is a graph output and `new` cannot take its name: it is a graph input, an initializer,
        a graph output itself, or belongs to another scope.
        """
        if not old.is_graph_output():
            return True
        if new.is_graph_input() or new.is_initializer() or new.is_graph_output():
            return False
        producer = new.producer()
        return producer is None or producer.graph is None or producer.graph is old.graph

    def replace(
        self,
        old_nodes: Sequence[ir.Node],
        new_nodes: Sequence[ir.Node],
        values: Mapping[ir.Value, ir.Value],
        *,
        metadata_from: Sequence[ir.Node] | None = None,
    ) -> bool:
        """Make one rewrite: put `new_nodes` in, send every reader of ``values``' keys to their values, drop what died.

        A node of `old_nodes` that something else still reads stays (that is how shared producers are kept). Owners of
        all `old_nodes` are merged into the new nodes, the primary being the first.

        Returns:
            True; False (recorded as a refusal) where an output name could not be kept.
        """
        for old, new in values.items():
            if not self.can_replace_value(old, new):
                return self.refuse(_NAME_LOST, old_nodes[0])
        anchor = old_nodes[-1]
        scope = anchor.graph
        if scope is None:
            raise ValueError(f"{self.pass_name}: node {anchor.name!r} is not in a graph any more")
        merge_metadata(metadata_from or old_nodes, new_nodes)
        scope.insert_before(anchor, list(new_nodes))
        for old, new in values.items():
            self._redirect(old, new)
        self.fired.append(self._rule)
        for node in reversed(old_nodes):
            self._drop_if_dead(node)
        return True

    def discard(self, nodes: Sequence[ir.Node]) -> None:
        """Give up nodes that were made but put in no graph; constants that only they read go with them."""
        for node in reversed(nodes):
            for index, value in enumerate(node.inputs):
                if value is not None:
                    self.set_input(node, index, None)

    def remove_dead(self, node: ir.Node) -> None:
        """One rewrite: remove a node that nothing reads, and the producers that die with it."""
        self.fired.append(self._rule)
        self._drop_if_dead(node)

    def replace_value(self, old: ir.Value, new: ir.Value) -> bool:
        """One rewrite without new nodes: every reader of `old` reads `new`; what made `old` is dropped if it died.

        For values without a producer too (initializers).

        Returns:
            True; False (recorded as a refusal) where an output name could not be kept.
        """
        if not self.can_replace_value(old, new):
            return self.refuse_value(_NAME_LOST, old)
        self._redirect(old, new)
        self.fired.append(self._rule)
        self._drop_value_if_dead(old)
        return True

    def absorb(self, node: ir.Node, *, into: ir.Node) -> None:
        """Merge the owners of `node` into those of `into`, which takes its work over in place."""
        merge_metadata([into, node], [into])

    def edited(self) -> None:
        """Count one rewrite that was made in place (an attribute or an input exchanged)."""
        self.fired.append(self._rule)

    def set_input(self, node: ir.Node, index: int, value: ir.Value | None) -> None:
        """Exchange one input; a producer that dies with it is removed. Not counted: call `edited` once per rewrite."""
        old = node.inputs[index]
        node.replace_input_with(index, value)
        if old is not None:
            self._drop_value_if_dead(old)

    def insert_first(self, scope: Scope, node: ir.Node) -> None:
        """Put `node`, which reads only what is known at the start of `scope`, there. Not counted."""
        if len(scope):
            scope.insert_before(scope[0], node)
        else:
            scope.append(node)

    def insert_after(self, producer: ir.Node, node: ir.Node) -> None:
        """Put `node` behind `producer`, with its metadata. Not counted."""
        if producer.graph is None:
            raise ValueError(f"{self.pass_name}: node {producer.name!r} is not in a graph any more")
        merge_metadata([producer], [node])
        producer.graph.insert_after(producer, node)

    def insert_behind(self, value: ir.Value, node: ir.Node, *, but: Collection[ir.Node] = ()) -> None:
        """Put `node`, which reads `value`, behind it: all readers of `value` outside `but` read its output instead.

        Where `value` is a graph output, the output of `node` takes its name, type and place. Not counted.
        """
        producer = value.producer()
        if producer is None or producer.graph is None:
            raise ValueError(f"{self.pass_name}: value {value.name!r} has no producer to stand behind")
        output = node.outputs[0]
        moved = [use for use in value.uses() if use.node is not node and use.node not in but]
        self.insert_after(producer, node)
        if value.is_graph_output():
            kept = [use for use in value.uses() if use not in moved]
            self._redirect(value, output)
            for use in kept:
                use.node.replace_input_with(use.idx, value)
        else:
            for use in moved:
                use.node.replace_input_with(use.idx, output)

    def sweep(self, value: ir.Value) -> None:
        """Drop what made `value` if nothing reads it any more. Not counted: call `edited` once per rewrite."""
        self._drop_value_if_dead(value)

    def finish(self) -> None:
        """Bring every scope back into topological order. Called once, after the pass."""
        if self.rewrites:
            self.sort()

    def sort(self) -> None:
        """Bring every scope into topological order now: rules that go by the order of nodes need it."""
        roots: list[Scope] = [self.model.graph, *self.model.functions.values()]
        for scope in roots:
            if not is_sorted(scope):
                scope.sort()

    def _redirect(self, old: ir.Value, new: ir.Value) -> None:
        if new.type is None:
            new.type = old.type
        if new.shape is None:
            new.shape = old.shape
        if old.is_graph_output():
            # The caller's contract is the name, type and shape of the output: they move to the replacement.
            name = old.name
            old.name = self.new_value_name(name or "output")
            new.name, new.type, new.shape = name, old.type, old.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)

    def _drop_if_dead(self, node: ir.Node) -> None:
        stack = [node]
        while stack:
            node = stack.pop()
            scope = node.graph
            if scope is None or any(map(is_needed, node.outputs)):
                continue
            read = list(dict.fromkeys([*node.inputs, *captured(node)]))
            detach_subgraphs(node)
            scope.remove(node, safe=True)
            for value in read:
                if value is not None and (producer := self._drop_value_if_dead(value, recurse=False)) is not None:
                    stack.append(producer)

    def _drop_value_if_dead(self, value: ir.Value, *, recurse: bool = True) -> ir.Node | None:
        if is_needed(value) or value.is_graph_input():
            return None
        if value.is_initializer():
            graph = value.graph
            if graph is not None and value.name is not None:
                graph.initializers.pop(value.name, None)
            return None
        producer = value.producer()
        if recurse and producer is not None:
            self._drop_if_dead(producer)
        return producer
