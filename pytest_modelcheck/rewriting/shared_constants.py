"""New names, and new constants that are made only where the graph has no equal one yet."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Set
from typing import Any, cast

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.constants import constant_tensor
from pytest_modelcheck.graph.scopes import Scope, taken_names

_SHARED_BYTES = 1024
"""Constants up to this size are compared with those that are there: shapes, axes, scales."""


class Names:
    """Names that no value or node of these scopes has; each ends in `suffix` and a number."""

    def __init__(self, scopes: Mapping[Scope, Scope | None], suffix: str) -> None:
        self._scopes = scopes
        self._suffix = suffix
        self._taken: set[str] | None = None
        self._serial = 0

    def new(self, hint: str) -> str:
        """The next free ``<hint>_<suffix>_<number>``."""
        if self._taken is None:  # most passes over most models need none
            self._taken = taken_names(self._scopes)
        while True:
            self._serial += 1
            name = f"{hint}_{self._suffix}_{self._serial}"
            if name not in self._taken:
                self._taken.add(name)
                return name


class SharedConstants:
    """The constants of a model: equal small ones are one.

    Args:
        scopes: Every scope with the one around it (`graph.scopes.all_scopes`).
        without_initializers: Scopes inside functions, which can have no initializers.
        names: Where new names come from.
    """

    def __init__(self, scopes: Mapping[Scope, Scope | None], without_initializers: Set[Scope], names: Names) -> None:
        self._scopes = scopes
        self._without_initializers = without_initializers
        self._names = names
        self._by_content: dict[Scope, dict[Hashable, ir.Value]] = {}

    def value(self, scope: Scope, content: np.ndarray[Any, Any] | ir.TensorProtocol, hint: str) -> ir.Value:
        """A constant that nodes of `scope` can read; see `Rewriter.constant_value`."""
        tensor = ir.Tensor(content) if isinstance(content, np.ndarray) else content
        key = content_key(tensor)
        if key is None:
            return self._make(scope, tensor, hint)
        around: Scope | None = scope
        while around is not None:
            value = self._small(around).get(key)
            if value is not None and is_in_a_graph(value) and not value.is_graph_output():
                return value
            around = self._scopes.get(around)
        value = self._by_content[scope][key] = self._make(scope, tensor, hint)
        return value

    def _make(self, scope: Scope, tensor: ir.TensorProtocol, hint: str) -> ir.Value:
        name = self._names.new(hint)
        type_, shape = ir.TensorType(tensor.dtype), ir.Shape(cast(ir.Shape, tensor.shape))
        if isinstance(scope, ir.Graph) and scope not in self._without_initializers:
            if isinstance(tensor, ir.Tensor):
                tensor.name = name
            value = ir.Value(name=name, const_value=tensor, type=type_, shape=shape)
            scope.register_initializer(value)
            return value
        node = ir.node("Constant", [], attributes={"value": tensor})
        node.name = self._names.new("Constant")
        value = node.outputs[0]
        value.name, value.const_value, value.type, value.shape = name, tensor, type_, shape
        insert_first(scope, node)
        return value

    def _small(self, scope: Scope) -> dict[Hashable, ir.Value]:
        """The small constants of `scope`, by content; the first of several."""
        shared = self._by_content.get(scope)
        if shared is None:
            shared = self._by_content[scope] = {}
            values = list(scope.initializers.values()) if isinstance(scope, ir.Graph) else []
            values += [node.outputs[0] for node in scope if node.op_type == "Constant" and node.domain == ""]
            for value in values:
                tensor = constant_tensor(value)
                if tensor is not None and (key := content_key(tensor)) is not None:
                    shared.setdefault(key, value)
        return shared


def is_in_a_graph(value: ir.Value) -> bool:
    """Whether a constant is still there: an initializer that is registered, or the output of a node in a graph."""
    producer = value.producer()
    return value.is_initializer() if producer is None else producer.graph is not None


def insert_first(scope: Scope, node: ir.Node) -> None:
    """Put `node` at the start of `scope`."""
    if len(scope):
        scope.insert_before(scope[0], node)
    else:
        scope.append(node)


def content_key(tensor: ir.TensorProtocol) -> Hashable | None:
    """Equal for constants that are the same; None for one that is not compared."""
    if tensor.dtype == ir.DataType.STRING or tensor.nbytes > _SHARED_BYTES:
        return None
    return tensor.dtype, tuple(tensor.shape), tensor.tobytes()
