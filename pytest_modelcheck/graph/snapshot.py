"""A model as it is now, to be put back after edits in place: a fraction of the time that a copy of it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from pytest_modelcheck.graph.readers import order_uses
from pytest_modelcheck.graph.scopes import Scope, all_scopes


class Snapshot:
    """What `restore` puts back: nodes and their order, connections, attributes, names, types, constants, metadata.

    The objects stay the same ones. Weights are not copied: nobody edits the content of a tensor.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._tables = [(table, dict(table)) for table in _tables(model)]
        self._scopes = [_Scope.of(scope) for scope in all_scopes(model)]

    def restore(self) -> None:
        """Undo every edit since this was made."""
        kept = {state.node for scope in self._scopes for state in scope.nodes}
        for scope in {**all_scopes(self._model), **dict.fromkeys(scope.scope for scope in self._scopes)}:
            nodes = tuple(scope)
            scope.remove(nodes)
            for node in nodes:
                if node not in kept:
                    node.resize_inputs(0)
            scope.outputs.clear()
            if isinstance(scope, ir.Graph):
                scope.initializers.clear()
        for table, content in self._tables:
            table.clear()
            table.update(content)
        for saved in self._scopes:
            saved.restore_values()
        for saved in self._scopes:
            saved.restore_graph()
        order_uses([saved.scope for saved in self._scopes])


def _tables(model: ir.Model) -> Iterator[Any]:
    yield from (model.opset_imports, model.metadata_props, model.functions)
    for function in model.functions.values():
        yield function.opset_imports


@dataclass(frozen=True, slots=True)
class _Value:
    value: ir.Value
    name: str | None
    type: ir.TypeProtocol | None
    shape: ir.Shape | None
    constant: ir.TensorProtocol | None


@dataclass(frozen=True, slots=True)
class _Node:
    node: ir.Node
    op_type: str
    domain: str
    name: str | None
    inputs: Sequence[ir.Value | None]
    attributes: Mapping[str, ir.Attr]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scope:
    scope: Scope
    inputs: tuple[ir.Value, ...]
    outputs: tuple[ir.Value, ...]
    initializers: tuple[ir.Value, ...]
    nodes: tuple[_Node, ...]
    values: tuple[_Value, ...]

    @classmethod
    def of(cls, scope: Scope) -> _Scope:
        initializers = tuple(scope.initializers.values()) if isinstance(scope, ir.Graph) else ()
        values = (*scope.inputs, *initializers, *(output for node in scope for output in node.outputs))
        return cls(
            scope=scope,
            inputs=tuple(scope.inputs),
            outputs=tuple(scope.outputs),
            initializers=initializers,
            nodes=tuple(
                _Node(n, n.op_type, n.domain, n.name, n.inputs, n.attributes.data.copy(), n.metadata_props.copy())
                for n in scope
            ),
            values=tuple(_Value(v, v.name, v.type, v.shape, v.const_value) for v in values),
        )

    def restore_values(self) -> None:
        for state in self.values:
            value = state.value
            if value.const_value is not state.constant:
                value.const_value = state.constant
            if value.name != state.name:
                value.name = state.name
            value.type, value.shape = state.type, state.shape

    def restore_graph(self) -> None:
        if tuple(self.scope.inputs) != self.inputs:
            self.scope.inputs.clear()
            self.scope.inputs.extend(self.inputs)
        if isinstance(self.scope, ir.Graph):
            for value in self.initializers:
                self.scope.register_initializer(value)
        for state in self.nodes:
            _restore_node(state)
        self.scope.extend([state.node for state in self.nodes])
        self.scope.outputs.extend(self.outputs)


def _restore_node(state: _Node) -> None:
    node = state.node
    node.op_type, node.domain, node.name = state.op_type, state.domain, state.name
    if node.inputs != state.inputs:
        node.resize_inputs(len(state.inputs))
        for index, value in enumerate(state.inputs):
            if node.inputs[index] is not value:
                node.replace_input_with(index, value)
    if node.attributes.data != state.attributes:
        node.attributes.clear()
        node.attributes.update(state.attributes)
    if node.metadata_props != state.metadata:
        node.metadata_props.clear()
        node.metadata_props.update(state.metadata)
