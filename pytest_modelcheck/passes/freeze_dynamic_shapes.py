"""``freeze_dynamic_shapes``: symbolic and unknown axes of graph inputs become numbers, for static-shape converters.

1. Every axis of a graph input that has no size gets the one that `sizes` has for its name, else `default`; equal names
   get equal numbers, in graph outputs and intermediate values too. Each frozen axis is noted, as
   ``input_ids axis 0 'batch' -> 1``.
2. With neither a size nor a default for one axis nothing is frozen: half-frozen shapes serve nobody.

A preparation pass: it changes the interface on purpose, and is not in the default pipeline.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from pytest_modelcheck.rewriting import Pass, Rewriter


@dataclass(frozen=True)
class FreezeDynamicShapes(Pass):
    """Freeze axes.

    Attributes:
        sizes: (axis name, size) pairs.
        default: Size of axes that `sizes` does not name, or that have no name; None to refuse them.
    """

    sizes: tuple[tuple[str, int], ...] = field(default=())
    default: int | None = 1

    name = "freeze_dynamic_shapes"
    changes_shapes = True

    def rewrite(self, rewriter: Rewriter) -> None:
        graph = rewriter.model.graph
        chosen: dict[str, int] = {}
        frozen: list[tuple[ir.Value, int, str | None, int]] = []
        for value in graph.inputs:
            for axis, dim in enumerate(value.shape or ()):
                if isinstance(dim, int):
                    continue
                size = dict(self.sizes).get(dim.value or "", self.default)
                if size is None or size < 0:
                    rewriter.refuse_value(f"no size is given for axis {axis} ({dim.value or 'unnamed'})", value)
                    return
                frozen.append((value, axis, dim.value, size))
                if dim.value:
                    chosen[dim.value] = size
        if unknown := next((value for value in graph.inputs if value.shape is None), None):
            rewriter.refuse_value("the rank of a graph input is not known", unknown)
            return
        if not frozen:
            return
        for value, axis, name, size in frozen:
            rewriter.note(f"{value.name} axis {axis} {name or 'unnamed'!r} -> {size}")
            dims = list(value.shape or ())
            dims[axis] = size
            rewriter.declare(value, shape=dims)
        for value in (*graph.outputs, *(output for node in graph.all_nodes() for output in node.outputs)):
            dims = [dim if isinstance(dim, int) else chosen.get(dim.value or "", dim) for dim in value.shape or ()]
            if dims != list(value.shape or ()):
                rewriter.declare(value, shape=dims)
        rewriter.edited()
