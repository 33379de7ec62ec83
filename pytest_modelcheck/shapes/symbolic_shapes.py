"""What is known about the shapes of values, and about the content of small integer tensors, with symbols for the rest.

`SymbolicShapes` walks from a value to its sources and applies one rule per operator: shape_rules.py for shapes,
content_rules.py for the content of shape tensors (what Shape, Gather, Concat ... compute). A named dimension of a graph
input is the same number wherever the name occurs (ONNX IR, "Static tensor shapes").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.constants import constant_tensor
from pytest_modelcheck.graph.counts import nodes_within
from pytest_modelcheck.graph.partial_inference import infer_edited
from pytest_modelcheck.graph.shape_inference import infer_shapes
from pytest_modelcheck.shapes import content_rules, shape_rules
from pytest_modelcheck.shapes.dims import MAY_BE_EMPTY, UNKNOWN_SIGN, Dim, atom, names, parse, with_unnamed
from pytest_modelcheck.shapes.edits import Edits
from pytest_modelcheck.shapes.known import Shape

_UNASKED = object()
_INTEGERS = (ir.DataType.INT64, ir.DataType.INT32, ir.DataType.BOOL)


class SymbolicShapes:
    """Shapes and shape contents of the values of one model, computed on demand and remembered.

    A rewrite that keeps the value of what it replaces does not make an answer wrong, but the new nodes may tell more or
    less: `refresh` derives again what is concerned by what was noted in `edits`.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._shapes: dict[ir.Value, Shape | None] = {}
        self._contents: dict[ir.Value, Shape | None] = {}
        self._done: set[ir.Node] = set()
        self._outputs = set(model.graph.outputs)
        self._ids: dict[ir.Value, int] = {}
        dims = [dim.value for value in model.graph.inputs for dim in value.shape or () if not isinstance(dim, int)]
        self._named = {name for dim in dims if dim for name in names(parse(dim))}
        self.edits = Edits()
        self._not_derived, self._not_inferred = Edits(), Edits()
        self._inferred_opset = self.opset = model.opset_imports.get("", 0)

    def copy(self) -> SymbolicShapes:
        """The same answers in an object of their own, for a graph that will be put back as it is now."""
        twin = SymbolicShapes(self._model)
        twin._shapes, twin._contents, twin._done = self._shapes.copy(), self._contents.copy(), self._done.copy()
        twin._ids = self._ids
        return twin

    def derive_all(self) -> None:
        """Derive every shape of the main graph and its subgraphs now."""
        for node in nodes_within(self._model.graph):
            for value in node.outputs[:1]:
                self._ensure(value)

    def refresh(self) -> None:
        """Derive again what the edits since the last call concern, and what follows from it."""
        self._take_edits()
        edits, self._not_derived = self._not_derived, Edits()
        outputs, opset = set(self._model.graph.outputs), self._model.opset_imports.get("", 0)
        if opset != self.opset:
            self._shapes, self._contents, self._done = {}, {}, set()
        edits.declared(outputs ^ self._outputs)
        self._outputs, self.opset = outputs, opset
        before = [(edits.replacement(old), self._answers(old)) for old in edits.replaced]
        nodes = edits.nodes
        for value in {**edits.values, **edits.inferred}:
            producer = value.producer()
            nodes.update(dict.fromkeys(self._readers(value) if producer is None else [producer]))
            if producer is None:
                self._drop(value)
        while nodes or before:
            derived = [node for node in nodes if node.graph is not None]
            before += [(output, self._answers(output)) for node in derived for output in node.outputs]
            for node in derived:
                self._done.discard(node)
                for output in node.outputs:
                    self._drop(output)
            changed = [value for value, answers in before if self._has_changed(value, *answers)]
            nodes, before = dict.fromkeys(node for value in changed for node in self._readers(value)), []

    def infer(self) -> bool:
        """Declare at every value what ONNX shape inference says, all edits considered; whether that is new of one."""
        self._take_edits()
        edited, changed = self._not_inferred.concerned(), list[ir.Value]()
        same_opset = self._model.opset_imports.get("", 0) == self._inferred_opset
        if not same_opset or (edited and not infer_edited(self._model, edited, changed)):
            changed += infer_shapes(self._model)
        self.inferred(changed)
        return len(changed) > 0

    def inferred(self, changed: Iterable[ir.Value]) -> None:
        """Take note that the whole model was inferred as it is, which said something new of these values."""
        self._take_edits()
        self._not_derived.inferred.update(dict.fromkeys(changed))
        self._not_inferred, self._inferred_opset = Edits(), self._model.opset_imports.get("", 0)

    def _take_edits(self) -> None:
        edits, self.edits = self.edits, Edits()
        self._not_derived.add(edits)
        self._not_inferred.add(edits)

    def _answers(self, value: ir.Value) -> tuple[object, object]:
        return self._shapes.get(value, _UNASKED), self._contents.get(value, _UNASKED)

    def _has_changed(self, value: ir.Value, shape: object, content: object) -> bool:
        reshaped = shape is not _UNASKED and self.shape(value) != shape
        return reshaped or (content is not _UNASKED and self.content(value) != content)

    def _readers(self, value: ir.Value) -> list[ir.Node]:
        return [use.node for use in value.uses() if use.node in self._done]

    def _drop(self, value: ir.Value) -> None:
        self._shapes.pop(value, None)
        self._contents.pop(value, None)

    def shape(self, value: ir.Value | None) -> Shape | None:
        """The dimensions of `value`; None where the rank is not known."""
        if value is None:
            return None
        self._ensure(value)
        if value not in self._shapes:
            self._shapes[value] = self._declared(value)
        return self._shapes[value]

    def content(self, value: ir.Value | None) -> Shape | None:
        """The elements of a 0-D or 1-D integer or bool tensor; None where not even their number is known."""
        if value is None or value.dtype not in _INTEGERS:
            return None
        self._ensure(value)
        if value not in self._contents:
            self._contents[value] = self._constant_content(value) or self._unknown_content(value)
        return self._contents[value]

    def constant_content(self, value: ir.Value | None) -> tuple[int, ...] | None:
        """`content` where every element is a number, else None."""
        elements = self.content(value)
        if elements is None:
            return None
        numbers = tuple(element for element in elements if isinstance(element, int))
        return numbers if len(numbers) == len(elements) else None

    def unknown_dim(self, value: ir.Value, axis: int) -> Dim:
        """The symbol for one axis of `value` about which nothing is known."""
        mark = "" if value.is_graph_input() and value.graph is self._model.graph else MAY_BE_EMPTY
        return atom(f"{mark}axis{self._ids.setdefault(value, len(self._ids))}.{axis}")

    def forget(self, value: ir.Value) -> None:
        """Drop what was remembered about a value whose meaning a rewrite has changed; to be derived again."""
        self._drop(value)
        if (producer := value.producer()) is not None:
            self._done.discard(producer)

    def _ensure(self, value: ir.Value) -> None:
        first = value.producer()
        if first is None or first in self._done:  # nearly always
            return
        stack = [first]
        while stack:
            node = stack[-1]
            if node in self._done:
                stack.pop()
                continue
            pending = [
                producer
                for source in node.inputs
                if source is not None and (producer := source.producer()) is not None and producer not in self._done
            ]
            if pending:
                stack += pending
                continue
            self._done.add(node)
            self._visit(node)
            stack.pop()

    def _visit(self, node: ir.Node) -> None:
        for index, derived in enumerate(shape_rules.output_shapes(node, self)):
            value = node.outputs[index]
            if derived is not None:
                self._shapes[value] = self._merged(value, derived)
        if node.domain == "" and len(node.outputs) == 1 and node.outputs[0].dtype in _INTEGERS:
            elements = content_rules.output_content(node, self)
            if elements is not None and len(elements) <= content_rules.MAX_ELEMENTS:
                value = node.outputs[0]
                self._contents[value] = tuple(
                    self._unknown_element(value, i) if element is None else element
                    for i, element in enumerate(elements)
                )

    def _merged(self, value: ir.Value, derived: Sequence[Dim | None]) -> Shape:
        """Fill the gaps of a derived shape from the declared one; a number that is declared is better than a symbol.

        Not so for outputs of the graph: what is declared there is the exporter's example as often as a fact.
        """
        declared = self._declared(value)
        if declared is None or len(declared) != len(derived):
            return tuple(self.unknown_dim(value, i) if dim is None else dim for i, dim in enumerate(derived))
        return tuple(
            known if dim is None or (isinstance(known, int) and not isinstance(dim, int)) else dim
            for dim, known in zip(derived, declared, strict=True)
        )

    def _declared(self, value: ir.Value) -> Shape | None:
        tensor = value.const_value
        shape = value.shape if tensor is None else tensor.shape
        if shape is None or not isinstance(value.type, ir.TensorType | None):  # of a sequence: that of its elements
            return None
        if value in self._outputs:
            return tuple(self.unknown_dim(value, i) for i in range(len(shape)))
        return tuple(
            dim if isinstance(dim, int) else self.unknown_dim(value, i) if not dim.value else self._read(dim.value)
            for i, dim in enumerate(shape)
        )

    def _read(self, name: str) -> Dim:
        return with_unnamed(parse(name), self._named)

    def _constant_content(self, value: ir.Value) -> Shape | None:
        tensor = constant_tensor(value)
        if tensor is None or len(tensor.shape) > 1 or tensor.size > content_rules.MAX_ELEMENTS:
            return None
        return tuple(int(element) for element in np.atleast_1d(tensor.numpy()))

    def _unknown_content(self, value: ir.Value) -> Shape | None:
        shape = self.shape(value)
        if shape is None or len(shape) > 1:
            return None
        length = shape[0] if shape else 1
        if not isinstance(length, int) or length > content_rules.MAX_ELEMENTS:
            return None
        return tuple(self._unknown_element(value, i) for i in range(length))

    def _unknown_element(self, value: ir.Value, index: int) -> Dim:
        return atom(f"{UNKNOWN_SIGN}element{self._ids.setdefault(value, len(self._ids))}.{index}")
