"""Putting the flattened view through a region: Reshapes at its border, its nodes as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute, integers_attribute
from pytest_modelcheck.passes.flattening.flat_shapes import Targets
from pytest_modelcheck.passes.flattening.regions import Balance, Region, is_reshape_of, is_unflattening, is_view
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import produced_by, scope_of
from pytest_modelcheck.shapes.dims import Dim, product, static_sizes

_AXIS_OPS = frozenset({"LayerNormalization", "RMSNormalization", "Softmax", "LogSoftmax", "Split"})


class Flattener:
    """Rewrites one region. `obstacle` first; where it is None, `apply` cannot fail."""

    def __init__(self, rewriter: Rewriter, region: Region) -> None:
        self._rewriter = rewriter
        self._shapes = rewriter.known
        self._region = region
        self._scope = scope_of(next(iter(region.roles)))
        self._targets = Targets(rewriter, self._scope, region.lead)

    def obstacle(self) -> str | None:
        """Why the region cannot or should not be flattened; None where it should."""
        widths = [self._shape(value)[-1] for value in (*self._region.entries(), *self._region.exits())]
        if any(not isinstance(width, int) or width == 0 for width in widths):
            return "the width of the activations is not known"
        tails = set()
        for value in self._region.exits():
            for shape in self._shapes_to_restore(value):
                if not self._targets.can_make(shape):
                    return "the sizes of the flattened axes are not carried by a graph input"
                if self._targets.needs_computing(shape):
                    tails.add(tuple(shape[len(self._region.lead) :]))
        computed = len(tails) + (1 if tails else 0) + (1 if tails and self._rewriter.opset() < 15 else 0)
        if Balance(self._shapes, self._region).total() <= computed:
            return "a flattened view would need as many Reshape nodes as it saves"
        return None

    def border(self) -> list[ir.Node]:
        """The Reshape nodes outside the region that `apply` edits or removes."""
        found = [producer for value in self._region.entries() if (producer := value.producer()) is not None]
        found += [node for value in self._region.exits() for node in self._outside_readers(value)]
        return [node for node in dict.fromkeys(found) if node.op_type == "Reshape"]

    def apply(self) -> None:
        """Make the region work on the view."""
        roles = self._region.roles
        exits = self._region.exits()
        for value in self._region.entries():
            view = self._enter(value)
            for use in value.uses() if view is not value else ():
                if use.node in roles:
                    self._rewriter.set_input(use.node, use.idx, view)
            self._rewriter.sweep(value)
        for value in exits:
            self._leave(value)
        for node in roles:
            self._adjust_axes(node)
            for output in node.outputs:
                self._rewriter.declare(output, shape=self._view_shape(output))
        self._rewriter.edited()

    def _shape(self, value: ir.Value) -> tuple[Dim, ...]:
        shape = self._shapes.shape(value)
        assert shape is not None, f"the shape of {value.name!r} was known and is not any more"
        return shape

    def _view_shape(self, value: ir.Value) -> ir.Shape:
        return ir.Shape(static_sizes((product(self._region.lead), self._shape(value)[-1])))

    def _outside_readers(self, value: ir.Value) -> list[ir.Node]:
        return list(dict.fromkeys(use.node for use in value.uses() if use.node not in self._region.roles))

    def _shapes_to_restore(self, value: ir.Value) -> list[tuple[Dim, ...]]:
        """The shapes that Reshapes behind the region's output `value` will make."""
        reshapes, others = self._readers(value)
        relative = [n for n in reshapes if not is_view(self._shapes, n, value) and not self._is_absolute(n)]
        return [self._shape(v) for v in ([value] if others else []) + [node.outputs[0] for node in relative]]

    def _readers(self, value: ir.Value) -> tuple[list[ir.Node], bool]:
        """The Reshapes outside the region that read `value`, and whether something else needs it."""
        readers = self._outside_readers(value)
        known = [n for n in readers if is_reshape_of(n, value) and self._shapes.shape(n.outputs[0]) is not None]
        return known, value.is_graph_output() or len(known) < len(readers)

    def _is_absolute(self, reshape: ir.Node) -> bool:
        """Whether the target of `reshape` copies no dimension of its input."""
        return 0 not in (self._shapes.content(reshape.inputs[1]) or (0,))

    def _enter(self, value: ir.Value) -> ir.Value:
        """The view of a value from outside."""
        producer, view, width = value.producer(), self._view_shape(value), self._shape(value)[-1]
        inside = all(use.node in self._region.roles for use in value.uses()) and not value.is_graph_output()
        reshape = produced_by(value, "Reshape") if inside else None
        if reshape is not None and is_unflattening(self._shapes, reshape) and reshape.inputs[0] is not None:
            return reshape.inputs[0]
        assert isinstance(width, int)
        target = self._rewriter.integers(self._scope, [-1, width], "view")
        if reshape is not None:
            self._rewriter.set_input(reshape, 1, target)
            self._rewriter.declare(value, shape=view)
            return value
        node = self._rewriter.node("Reshape", [value, target], dtype=value.dtype, shape=view)
        if producer is not None and producer.graph is self._scope:
            self._rewriter.insert_after(producer, node)
        else:
            # A graph input is nobody's: the view belongs to the first module that reads it.
            owner = next(use.node for use in value.uses() if use.node in self._region.roles)
            self._rewriter.insert_first(self._scope, node, owner=owner)
        return node.outputs[0]

    def _leave(self, value: ir.Value) -> None:
        """Give what is outside the shape it expects."""
        reshapes, others = self._readers(value)
        if others:
            back = self._rewriter.node("Reshape", [value, self._targets.make(self._shape(value))], like=value)
            self._rewriter.insert_behind(value, back, but=[*self._region.roles, *reshapes])
        for node in reshapes:
            if is_view(self._shapes, node, value):
                self._rewriter.replace([node], [], {node.outputs[0]: value})
            elif not self._is_absolute(node):
                self._rewriter.set_input(node, 1, self._targets.make(self._shape(node.outputs[0])))

    def _adjust_axes(self, node: ir.Node) -> None:
        """Name the last axis -1, which is right for the view as well."""
        if node.op_type in _AXIS_OPS and integer_attribute(node, "axis", -1) != -1:
            self._rewriter.set_attributes(node, {"axis": -1})
        elif integers_attribute(node, "axes") is not None:
            self._rewriter.set_attributes(node, {"axes": [-1]})
        elif node.op_type.startswith("Reduce") and len(node.inputs) > 1:
            axes = self._rewriter.constant(node.inputs[1])
            if axes is not None and np.any(axes != -1):
                self._rewriter.set_input(node, 1, self._rewriter.integers(self._scope, [-1], "axes"))


def flatten(rewriter: Rewriter, regions: Sequence[Region]) -> tuple[list[Region], bool]:
    """Flatten the regions that gain by it. Those done, and whether one had to wait for shapes to be read again."""
    done: list[Region] = []
    touched: set[ir.Node] = set()
    waiting = False
    for region in regions:
        if rewriter.exhausted:
            break
        Balance(rewriter.known, region).prune()
        if not region.roles:
            continue
        flattener = Flattener(rewriter, region)
        pairs = [node for node in region.roles if node.op_type == "MatMul"]
        obstacle = flattener.obstacle()
        if obstacle is not None:
            for node in pairs[:1]:
                rewriter.refuse(obstacle, node)
            continue
        if touched.intersection(flattener.border()):
            waiting = True
            continue
        touched.update(flattener.border())
        flattener.apply()
        done.append(region)
    return done, waiting
