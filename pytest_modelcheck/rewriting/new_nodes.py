"""New nodes and constants for one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.scopes import Scope
from pytest_modelcheck.rewriting.shared_constants import Names, SharedConstants

Dims = Sequence[int | str | ir.SymbolicDim | None] | ir.Shape


class NewNodes:
    """Makes what a rewrite puts in.

    Attributes:
        names: Free names.
        made: Every node that was made, put in or not.
    """

    def __init__(self, model: ir.Model, scopes: Mapping[Scope, Scope | None], suffix: str) -> None:
        self._model = model
        self.names = Names(scopes, suffix)
        self.made: set[ir.Node] = set()
        inside: set[Scope] = set()
        for function in model.functions.values():
            inside.update((function, function.graph, *function.subgraphs()))
        self._constants = SharedConstants(scopes, inside, self.names)

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, Any] | None = None,
        *,
        domain: str = "",
        likes: Sequence[ir.Value | None] = (None,),
        like: ir.Value | None = None,
        dtype: ir.DataType | None = None,
        shape: Dims | None = None,
    ) -> ir.Node:
        """A new node with named outputs that is not yet in any graph.

        Args:
            op_type: Operator name.
            inputs: Input values; None for an omitted optional input.
            attributes: Plain Python values.
            domain: Operator domain.
            like: Take type and shape of the output, and a name, from this value.
            likes: The same for a node with several outputs: one value each, None for one that is omitted.
            dtype: Element type of the output; overrides that of `like`.
            shape: Shape of the output; overrides that of `like`.
        """
        models = likes if like is None else (like,)
        node = ir.node(op_type, list(inputs), attributes=attributes, domain=domain, num_outputs=len(models))
        node.name = self.names.new(op_type)
        for output, model in zip(node.outputs, models, strict=True):
            if model is None and len(models) > 1:
                output.name = ""
                continue
            output.name = self.names.new(model.name if model is not None and model.name else op_type)
            if model is not None:
                output.type, output.shape = model.type, model.shape
            if dtype is not None:
                output.type = ir.TensorType(dtype)  # not in place: the type of `model` is the same object
            if shape is not None:
                output.shape = ir.Shape(shape)
        self.made.add(node)
        return node

    def constant(self, scope: Scope, content: np.ndarray[Any, Any] | ir.TensorProtocol, hint: str) -> ir.Value:
        """A constant that nodes of `scope` can read: a small one that is there already, else a new one.

        An initializer of the graph; inside a function, which can have none, a Constant node at its start.
        """
        return self._constants.value(scope, content, hint)

    def constant_for(
        self, value: ir.Value, content: np.ndarray[Any, Any] | ir.TensorProtocol
    ) -> tuple[list[ir.Node], ir.Value]:
        """What is to be put in, and the constant that may stand for `value`: a Constant node for a graph output."""
        producer = value.producer()
        assert producer is not None
        assert producer.graph is not None
        if not value.is_graph_output():
            return [], self.constant(producer.graph, content, value.name or "constant")
        tensor = ir.tensor(content, name=value.name) if isinstance(content, np.ndarray) else content
        node = self.node("Constant", [], {"value": tensor}, like=value)
        return [node], node.outputs[0]

    def integers(self, scope: Scope, numbers: Sequence[int], hint: str) -> ir.Value:
        """`constant` for an int64 vector: a shape, axes, sizes."""
        return self._constants.value(scope, np.asarray(numbers, dtype=np.int64), hint)

    def split(
        self, value: ir.Value, axis: int, sizes: Sequence[int], scope: Scope, likes: Sequence[ir.Value]
    ) -> ir.Node:
        """A Split of `value` into parts of these sizes along `axis`, typed and named like `likes`; in no graph yet."""
        if self._model.opset_imports.get("", 0) < 13:
            return self.node("Split", [value], {"axis": axis, "split": list(sizes)}, likes=likes)
        return self.node("Split", [value, self.integers(scope, sizes, "sizes")], {"axis": axis}, likes=likes)
