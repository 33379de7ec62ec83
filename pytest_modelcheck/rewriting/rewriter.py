"""The `Rewriter`, through which every edit of a graph goes.

Because no pass edits a graph by itself, each rewrite is counted, each refusal has a reason, outputs keep their names,
owners survive, and a bisection can stop a pass after its first n rewrites. What it makes is in new_nodes.py; what a
pass asks about a graph are plain functions (matching.py, `graph.readers`, `graph.constants`, `graph.attributes`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import onnx_ir as ir

from pytest_modelcheck.graph.constants import constant_array
from pytest_modelcheck.graph.metadata import merge_metadata
from pytest_modelcheck.graph.readers import order_uses, read_once
from pytest_modelcheck.graph.scopes import Scope, all_scopes, is_sorted
from pytest_modelcheck.rewriting.dead_code import drop_if_dead, drop_value_if_dead
from pytest_modelcheck.rewriting.journal import Journal
from pytest_modelcheck.rewriting.new_nodes import Dims, NewNodes
from pytest_modelcheck.rewriting.shared_constants import insert_first
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes
from pytest_modelcheck.targets import Target

__all__ = ["Rewriter", "Scope", "Target"]

_NAME_LOST = "its output is a graph output and the replacement cannot take that name"


class Rewriter(Journal):
    """Edits one model on behalf of one pass.

    Attributes:
        known: What is known about shapes and the content of shape tensors; see `shapes`.
        made: Every node that this pass has made.
        node, split, constant_value, constant_for, integers: What a rewrite puts in; see `NewNodes`.
        new_value_name: A name that no value or node of the model has, from a hint.
    """

    def __init__(
        self,
        model: ir.Model,
        *,
        pass_name: str,
        target: Target,
        max_rewrites: int | None = None,
        rules: tuple[str, ...] = (),
        shapes: SymbolicShapes | None = None,
    ) -> None:
        super().__init__(rules or (pass_name,), max_rewrites)
        self.model = model
        self.pass_name = pass_name
        self.target = target
        self.known = SymbolicShapes(model) if shapes is None else shapes
        self._scopes = all_scopes(model)
        new = NewNodes(model, self._scopes, pass_name)
        self.made = new.made
        self.node, self.split = new.node, new.split
        self.constant_value, self.constant_for, self.integers = new.constant, new.constant_for, new.integers
        self.new_value_name = new.names.new

    # Looking

    constant = staticmethod(constant_array)

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

    def opset(self, domain: str = "") -> int:
        """The imported opset version of a domain; 0 where it is not imported."""
        return self.model.opset_imports.get(domain, 0)

    def order_uses(self) -> None:
        """List the readers of every value in graph order, as in a copy of the model.

        A pass that takes the first of several readers would else give another result after other edits.
        """
        order_uses(self._scopes)

    def shapes(self) -> SymbolicShapes:
        """`known`, all edits until now considered.

        Asked for again after edits that change what a value means: until then the answers are those of before.
        """
        self.known.refresh()
        return self.known

    def infer_shapes(self) -> bool:
        """Declare at every value what ONNX shape inference says; whether that is new of one."""
        return self.known.infer()

    # Imports and metadata: not counted

    def import_domain(self, domain: str, version: int) -> None:
        """Make the model and its functions import `domain`, where they do not yet."""
        self.model.opset_imports.setdefault(domain, version)
        for function in self.model.functions.values():
            function.opset_imports.setdefault(domain, version)

    def set_opset(self, version: int) -> None:
        """Make the model, and its functions that import it, import this version of the standard domain."""
        self.model.opset_imports[""] = version
        for function in self.model.functions.values():
            if "" in function.opset_imports:
                function.opset_imports[""] = version

    def set_metadata(self, key: str, text: str) -> None:
        """Keep a fact in the model's metadata, for later passes and runs."""
        self.model.metadata_props[key] = text

    # Whole rewrites: each is counted

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
        all `old_nodes` are merged into the new nodes, the primary being the first. A graph output that would lose its
        name gets an Identity, where that still leaves fewer nodes.

        Returns:
            True; False (recorded as a refusal) where an output name could not be kept.
        """
        lost = [old for old, new in values.items() if not self.can_replace_value(old, new)]
        if lost and (new_nodes or len(values) > 1 or not _frees_producer(old_nodes, values[lost[0]])):
            return self.refuse(_NAME_LOST, old_nodes[0])
        if lost:
            new_nodes = [self.node("Identity", [values[lost[0]]], like=lost[0])]
            values = {lost[0]: new_nodes[0].outputs[0]}
        anchor = old_nodes[-1]
        scope = self._scope_of(anchor)
        merge_metadata(metadata_from or old_nodes, new_nodes)
        scope.insert_before(anchor, list(new_nodes))
        self.known.edits.edited(new_nodes)
        for old, new in values.items():
            self._redirect(old, new)
        self.edited()
        for node in reversed(old_nodes):
            drop_if_dead(node)
        return True

    def replace_value(self, old: ir.Value, new: ir.Value) -> bool:
        """One rewrite without new nodes: every reader of `old` reads `new`; what made `old` is dropped if it died.

        For values without a producer too (initializers).

        Returns:
            True; False (recorded as a refusal) where an output name could not be kept.
        """
        if not self.can_replace_value(old, new):
            return self.refuse_value(_NAME_LOST, old)
        self._redirect(old, new)
        self.edited()
        drop_value_if_dead(old)
        return True

    def remove_dead(self, node: ir.Node) -> None:
        """One rewrite: remove a node that nothing reads, and the producers that die with it."""
        self.edited()
        drop_if_dead(node)

    def remove_unread(self, initializer: ir.Value) -> None:
        """One rewrite: remove an initializer that nothing reads."""
        self.edited()
        drop_value_if_dead(initializer)

    def remove_function(self, identifier: ir.OperatorIdentifier) -> None:
        """One rewrite: remove a function that nothing calls."""
        self.edited()
        del self.model.functions[identifier]

    # Edits in place: not counted, call `edited` once per rewrite

    def discard(self, nodes: Sequence[ir.Node]) -> None:
        """Give up nodes that were made but put in no graph; constants that only they read go with them."""
        for node in reversed(nodes):
            for index, value in enumerate(node.inputs):
                if value is not None:
                    self.set_input(node, index, None)

    def absorb(self, node: ir.Node, *, into: ir.Node) -> None:
        """Merge the owners of `node` into those of `into`, which takes its work over in place."""
        merge_metadata([into, node], [into])

    def set_input(self, node: ir.Node, index: int, value: ir.Value | None) -> None:
        """Exchange one input, or add one at the end; a producer that dies with the old one is removed."""
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        old = node.inputs[index]
        node.replace_input_with(index, value)
        self.known.edits.edited([node])
        if old is not None:
            drop_value_if_dead(old)

    def trim_inputs(self, node: ir.Node) -> None:
        """Take omitted inputs off the end of `node`."""
        given = [index for index, value in enumerate(node.inputs) if value is not None]
        node.resize_inputs(max(given, default=-1) + 1)
        self.known.edits.edited([node])

    def set_attributes(self, node: ir.Node, attributes: Mapping[str, int | Sequence[int] | None]) -> None:
        """Set integer attributes of `node`; None removes one."""
        self.known.edits.edited([node])
        for name, number in attributes.items():
            if number is None:
                node.attributes.pop(name, None)
            elif isinstance(number, int):
                node.attributes[name] = ir.AttrInt64(name, number)
            else:
                node.attributes[name] = ir.AttrInt64s(name, number)

    def declare(self, value: ir.Value, *, like: ir.Value | None = None, shape: Dims | None = None) -> None:
        """Declare the type and shape of `like`, or this shape; with neither, the shape of `value` is not known."""
        if like is not None:
            value.type = like.type
            value.shape = like.shape
        else:
            value.shape = None if shape is None else ir.Shape(shape)
        self.known.edits.declared([value])

    def insert_first(self, scope: Scope, node: ir.Node, *, owner: ir.Node | None = None) -> None:
        """Put `node`, which reads only what is known at the start of `scope`, there, with the metadata of `owner`."""
        if owner is not None:
            merge_metadata([owner], [node])
        insert_first(scope, node)
        self.known.edits.edited([node])

    def insert_after(self, producer: ir.Node, node: ir.Node) -> None:
        """Put `node` behind `producer`, with its metadata."""
        scope = self._scope_of(producer)
        merge_metadata([producer], [node])
        scope.insert_after(producer, node)
        self.known.edits.edited([node])

    def insert_behind(self, value: ir.Value, node: ir.Node, *, but: Collection[ir.Node] = ()) -> None:
        """Put `node`, which reads `value`, behind it: all readers of `value` outside `but` read its output instead.

        Where `value` is a graph output, the output of `node` takes its name, type and place.
        """
        producer = value.producer()
        if producer is None or producer.graph is None:
            raise ValueError(f"{self.pass_name}: value {value.name!r} has no producer to insert after")
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
            self.known.edits.edited(use.node for use in moved)

    def sweep(self, value: ir.Value) -> None:
        """Drop what made `value` if nothing reads it any more."""
        drop_value_if_dead(value)

    # Order

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

    def _scope_of(self, node: ir.Node) -> Scope:
        if node.graph is None:
            raise ValueError(f"{self.pass_name}: node {node.name!r} is not in a graph any more")
        return node.graph

    def _redirect(self, old: ir.Value, new: ir.Value) -> None:
        self.replaced[old.name or ""] = new
        if new.type is None:
            new.type = old.type
        if new.shape is None:
            new.shape = old.shape
        if old.is_graph_output():
            # The caller's contract is the output as the file declares it: that moves to the replacement.
            name = old.name
            old.name = self.new_value_name(name or "output")
            new.name, new.type, new.shape, new.doc_string = name, old.type, old.shape, old.doc_string
            new.metadata_props.update(old.metadata_props)
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        self.known.edits.replaced[old] = new


def _frees_producer(nodes: Sequence[ir.Node], kept: ir.Value) -> bool:
    """Whether a node goes with `nodes` that only they read, where `kept` stays."""
    read = [value for node in nodes for value in node.inputs if value is not None and value is not kept]
    return any(value.producer() is not None and read_once(value) for value in read)
