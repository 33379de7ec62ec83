"""What a file says about the shapes of its intermediate values, held against what follows from its inputs.

Exporters write down what their example had: torch 2.13 bakes the example's frames into the shapes behind a second LSTM
layer, and whoever makes a batch dynamic by editing the graph's inputs leaves the old number everywhere else. So:

1. What follows from the graph's inputs counts, whatever the file says.
2. Where that leaves a size open the file is believed, unless one of its claims is refuted: by another number of
   dimensions, by another number, or because the size is computed from named dimensions of inputs and no number. So are
   sizes that the file itself names, or says to be another number, elsewhere: where it calls the frames of one layer
   ``s0`` they are no 30 behind the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from pytest_modelcheck.graph.counts import nodes_within
from pytest_modelcheck.graph.shape_inference import infer_shapes
from pytest_modelcheck.shapes.dims import MAY_BE_EMPTY, Dim, names, parse
from pytest_modelcheck.shapes.symbolic_shapes import SymbolicShapes

_UNKNOWN = "unk__"
"""How ONNX shape inference begins the names of sizes that it does not know."""


def infer_from_inputs(model: ir.Model) -> None:
    """Give the intermediate values of `model` the shapes that follow from its inputs, in place.

    What the file claims fills the gaps, unless a claim is refuted.
    """
    claims = {value: value.shape for value in _made(model) if value.shape is not None}
    for value in claims:
        value.shape = None
    infer_shapes(model)
    if not claims or _refuted(model, claims):
        return
    filled = [value for value, claimed in claims.items() if _fill(value, claimed)]
    if filled:
        infer_shapes(model)


def _made(model: ir.Model) -> Iterator[ir.Value]:
    """Every value of the main graph and its subgraphs that a node makes. What a function says is nobody's business."""
    for node in nodes_within(model.graph):
        for value in node.outputs:
            if not value.is_graph_output() and (value.type is None or isinstance(value.type, ir.TensorType)):
                yield value


def _refuted(model: ir.Model, claims: Mapping[ir.Value, ir.Shape]) -> bool:
    shapes = SymbolicShapes(model)
    known = {value: shape for value in claims if (shape := shapes.shape(value)) is not None}
    if any(len(shape) != len(claims[value]) for value, shape in known.items()):
        return True
    pairs = [pair for value, shape in known.items() for pair in zip(shape, claims[value], strict=True)]
    sizes = {dim.value for value in model.graph.inputs for dim in value.shape or () if not isinstance(dim, int)}
    named = {name for size in sizes if size for name in names(parse(size))}
    named |= {n for dim, claim in pairs if not isinstance(claim, int) and not _is_unknown(claim) for n in names(dim)}
    numbers: dict[Dim, int] = {}
    return any(
        isinstance(dim, int) or _follows_from(dim, named) or numbers.setdefault(dim, claim) != claim
        for dim, claim in pairs
        if isinstance(claim, int) and claim != dim
    )


def _follows_from(dim: Dim, named: set[str]) -> bool:
    return all(name in named or name.removeprefix(MAY_BE_EMPTY) in named for name in names(dim))


def _fill(value: ir.Value, claimed: ir.Shape) -> bool:
    """Take what is claimed where nothing is known; whether there was something.

    A claim that a size is unknown is none: its name would be that of another size in our own inference.
    """
    known = value.shape
    believed = [ir.SymbolicDim(None) if _is_unknown(dim) else dim for dim in claimed]
    pairs = zip(known or believed, believed, strict=True)
    dims = [claim if _is_unknown(dim) and not _is_unknown(claim) else dim for dim, claim in pairs]
    value.shape = ir.Shape(dims)
    return known is None or dims != list(known)


def _is_unknown(dim: int | ir.SymbolicDim) -> bool:
    return not isinstance(dim, int) and (dim.value is None or dim.value.startswith(_UNKNOWN))
