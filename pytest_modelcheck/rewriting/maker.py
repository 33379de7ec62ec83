"""New names, nodes and constants for one pass."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.scopes import Scope, taken_names
from pytest_modelcheck.rewriting.reader import Reader
from pytest_modelcheck.targets import Target

_SHARED_BYTES = 1024
"""Constants up to this size are compared with those that are there: shapes, axes, scales."""


class Maker(Reader):
    """Makes what a rewrite puts in."""

    def __init__(
        self,
        model: ir.Model,
        *,
        pass_name: str,
        target: Target,
        max_rewrites: int | None = None,
        rules: tuple[str, ...] = (),
    ) -> None:
        super().__init__(model, pass_name=pass_name, target=target, max_rewrites=max_rewrites, rules=rules)
        self._names: set[str] | None = None
        self._serial = 0
        self.made: set[ir.Node] = set()
        """Every node that this pass has made."""
        self._function_graphs = {
            id(graph) for function in model.functions.values() for graph in (function.graph, *function.subgraphs())
        }
        self._shared: dict[Scope, dict[Hashable, ir.Value]] = {}

    def order_uses(self) -> None:
        """List the readers of every value in graph order, as in a copy of the model.

        Otherwise they stand in the order of the edits that led here: a pass that takes the first of several readers
        would give another result for the same graph.
        """
        for scope in self._scopes:
            for node in scope:
                for index, value in enumerate(node.inputs):
                    if value is not None:
                        node.replace_input_with(index, None)
                        node.replace_input_with(index, value)

    def new_value_name(self, hint: str) -> str:
        """A name that no value or node of the model has."""
        if self._names is None:  # most passes over most models need none
            self._names = taken_names(self._scopes)
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
        self.made.add(node)
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
        self.made.add(node)
        return node

    def constant_value(self, scope: Scope, array: np.ndarray[Any, Any] | ir.TensorProtocol, hint: str) -> ir.Value:
        """A constant that nodes of `scope` can read: a small one that is there already, else a new one.

        An initializer of the graph; inside a function, which can have none, a Constant node at its start.
        """
        tensor = ir.tensor(array) if isinstance(array, np.ndarray) else array
        key = _content(tensor)
        if key is None:
            return self._new_constant(scope, tensor, hint)
        around: Scope | None = scope
        while around is not None:
            value = self._shared_constants(around).get(key)
            if value is not None and _is_in_a_graph(value) and not value.is_graph_output():
                return value
            around = self._scopes.get(around)
        value = self._shared[scope][key] = self._new_constant(scope, tensor, hint)
        return value

    def _new_constant(self, scope: Scope, tensor: ir.TensorProtocol, hint: str) -> ir.Value:
        name = self.new_value_name(hint)
        type_, shape = ir.TensorType(tensor.dtype), ir.Shape(cast(ir.Shape, tensor.shape))
        if isinstance(scope, ir.Graph) and id(scope) not in self._function_graphs:
            if isinstance(tensor, ir.Tensor):
                tensor.name = name
            value = ir.Value(name=name, const_value=tensor, type=type_, shape=shape)
            scope.register_initializer(value)
            return value
        node = ir.node("Constant", [], attributes={"value": tensor})
        node.name = self.new_value_name("Constant")
        value = node.outputs[0]
        value.name, value.const_value, value.type, value.shape = name, tensor, type_, shape
        if len(scope):
            scope.insert_before(scope[0], node)
        else:
            scope.append(node)
        return value

    def _shared_constants(self, scope: Scope) -> dict[Hashable, ir.Value]:
        """The small constants of `scope`, by content; the first of several."""
        shared = self._shared.get(scope)
        if shared is None:
            shared = self._shared[scope] = {}
            values = list(scope.initializers.values()) if isinstance(scope, ir.Graph) else []
            values += [node.outputs[0] for node in scope if node.op_type == "Constant" and node.domain == ""]
            for value in values:
                tensor = None if value.is_graph_input() else ir.convenience.get_const_tensor(value)
                if tensor is not None and (key := _content(tensor)) is not None:
                    shared.setdefault(key, value)
        return shared


def _content(tensor: ir.TensorProtocol) -> Hashable | None:
    """Equal for constants that are the same; None for one that is not compared."""
    if tensor.dtype == ir.DataType.STRING or tensor.nbytes > _SHARED_BYTES:
        return None
    return tensor.dtype, tuple(tensor.shape), tensor.tobytes()


def _is_in_a_graph(value: ir.Value) -> bool:
    producer = value.producer()
    return value.is_initializer() if producer is None else producer.graph is not None
