"""What all passes share: the `Pass` base and the `Rewriter`, through which every edit of a graph goes.

Because no pass edits a graph by itself, each rewrite is counted, each refusal has a reason, outputs keep their names,
owners survive, and a bisection can stop a pass after its first n rewrites.
"""

from __future__ import annotations

import abc
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.metadata import merge_metadata
from pytest_modelcheck.passes.scopes import Scope, all_scopes, captured, detach_subgraphs, taken_names
from pytest_modelcheck.result import Refused
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
    """

    rewrites: int = 0
    refusals: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()


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
    changes_shapes: ClassVar[bool] = False
    """Whether the pass changes the declared shapes of graph inputs and outputs on purpose."""

    def call(self, model: ir.Model) -> PassOutcome:
        rewriter = Rewriter(model, pass_name=self.name, target=self.target, max_rewrites=self.max_rewrites)
        self.rewrite(rewriter)
        rewriter.finish()
        # A pass may come by the same place in several rounds.
        refusals, notes = tuple(dict.fromkeys(rewriter.refusals)), tuple(rewriter.notes)
        return PassOutcome(model, rewriter.rewrites > 0, rewriter.rewrites, refusals, notes)

    @abc.abstractmethod
    def rewrite(self, rewriter: Rewriter) -> None:
        """Edit ``rewriter.model`` through `rewriter` until nothing is left to do."""


class Rewriter:
    """Edits one model on behalf of one pass."""

    def __init__(self, model: ir.Model, *, pass_name: str, target: Target, max_rewrites: int | None = None) -> None:
        self.model = model
        self.pass_name = pass_name
        self.target = target
        self.rewrites = 0
        self.refusals: list[Refused] = []
        self.notes: list[str] = []
        self._max_rewrites = max_rewrites
        self._names = taken_names(model)
        self._serial = 0
        self._function_graphs = {
            id(graph) for function in model.functions.values() for graph in (function.graph, *function.subgraphs())
        }

    # -- looking --------------------------------------------------------------------------------------------------

    def scopes(self) -> Iterator[Scope]:
        """The main graph, then every subgraph, then every function and its subgraphs."""
        return all_scopes(self.model)

    def nodes(self, *op_types: str) -> Iterator[ir.Node]:
        """Standard-domain nodes of these op types (all nodes of any domain, if none is given) in every scope.

        The list is taken at the start of each scope; nodes that a rewrite removed meanwhile are skipped.
        """
        for scope in list(self.scopes()):
            for node in tuple(scope):
                if node.graph is None or self.exhausted:
                    continue
                if not op_types or (node.domain == "" and node.op_type in op_types):
                    yield node

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
        return len(value.uses()) == 1 and not value.is_graph_output()

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

    # -- saying no ------------------------------------------------------------------------------------------------

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

    # -- editing --------------------------------------------------------------------------------------------------

    def new_value_name(self, hint: str) -> str:
        """A name that no value or node of the model has."""
        while True:
            self._serial += 1
            name = f"{hint}_{self.pass_name}_{self._serial}"
            if name not in self._names:
                self._names.add(name)
                return name

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        domain: str = "",
        like: ir.Value | None = None,
        dtype: ir.DataType | None = None,
        shape: Sequence[int | str | ir.SymbolicDim | None] | ir.Shape | None = None,
    ) -> ir.Node:
        """A new node with one named output that is not yet in any graph.

        Args:
            op_type: Operator name.
            inputs: Input values; None for an omitted optional input.
            attributes: Plain Python values.
            domain: Operator domain.
            like: Take type and shape of the output from this value.
            dtype: Element type of the output; overrides that of `like`.
            shape: Shape of the output; overrides that of `like`.
        """
        node = ir.node(op_type, list(inputs), attributes=attributes, domain=domain)
        node.name = self.new_value_name(op_type)
        output = node.outputs[0]
        output.name = self.new_value_name(like.name if like is not None and like.name else op_type)
        if like is not None:
            output.type, output.shape = like.type, like.shape
        if dtype is not None:
            output.dtype = dtype
        if shape is not None:
            output.shape = ir.Shape(shape)
        return node

    def split(
        self, value: ir.Value, axis: int, sizes: Sequence[int], scope: Scope, likes: Sequence[ir.Value]
    ) -> ir.Node:
        """A Split of `value` into parts of these sizes along `axis`, typed and named like `likes`; in no graph yet."""
        attributes: dict[str, Any] = {"axis": axis}
        inputs = [value]
        if self.opset() >= 13:
            inputs.append(self.constant_value(scope, np.asarray(sizes, dtype=np.int64), "sizes"))
        else:
            attributes["split"] = list(sizes)
        node = ir.node("Split", inputs, attributes=attributes, num_outputs=len(sizes))
        node.name = self.new_value_name("Split")
        for output, like in zip(node.outputs, likes, strict=True):
            output.name = self.new_value_name(like.name or "Split")
            output.type, output.shape = like.type, like.shape
        return node

    def constant_value(self, scope: Scope, array: np.ndarray[Any, Any] | ir.TensorProtocol, hint: str) -> ir.Value:
        """A new constant that nodes of `scope` can read.

        An initializer of the graph; inside a function, which can have none, a Constant node at its start.
        """
        name = self.new_value_name(hint)
        tensor = ir.tensor(array, name=name) if isinstance(array, np.ndarray) else array
        if isinstance(scope, ir.Graph) and id(scope) not in self._function_graphs:
            value = ir.Value(
                name=name,
                const_value=tensor,
                type=ir.TensorType(tensor.dtype),
                shape=ir.Shape(cast(ir.Shape, tensor.shape)),
            )
            scope.register_initializer(value)
            return value
        node = ir.node("Constant", [], attributes={"value": tensor})
        node.name = self.new_value_name("Constant")
        node.outputs[0].name, node.outputs[0].const_value = name, tensor
        node.outputs[0].type, node.outputs[0].shape = (
            ir.TensorType(tensor.dtype),
            ir.Shape(cast(ir.Shape, tensor.shape)),
        )
        if len(scope):
            scope.insert_before(scope[0], node)
        else:
            scope.append(node)
        return node.outputs[0]

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
        self.rewrites += 1
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
        self.rewrites += 1
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
        self.rewrites += 1
        self._drop_value_if_dead(old)
        return True

    def absorb(self, node: ir.Node, *, into: ir.Node) -> None:
        """Merge the owners of `node` into those of `into`, which takes its work over in place."""
        merge_metadata([into, node], [into])

    def edited(self) -> None:
        """Count one rewrite that was made in place (an attribute or an input exchanged)."""
        self.rewrites += 1

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
            self.model.graph.sort()
            for function in self.model.functions.values():
                function.sort()

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
            if scope is None or any(output.uses() or output.is_graph_output() for output in node.outputs):
                continue
            read = list(dict.fromkeys([*node.inputs, *captured(node)]))
            detach_subgraphs(node)
            scope.remove(node, safe=True)
            for value in read:
                if value is not None and (producer := self._drop_value_if_dead(value, recurse=False)) is not None:
                    stack.append(producer)

    def _drop_value_if_dead(self, value: ir.Value, *, recurse: bool = True) -> ir.Node | None:
        if value.uses() or value.is_graph_output() or value.is_graph_input():
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
