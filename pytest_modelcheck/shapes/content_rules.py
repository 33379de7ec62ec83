"""One rule per operator for the elements of shape tensors: 0-D or 1-D integer (or bool: 0, 1) tensors.

A rule gives the elements with None for one that it cannot say, or None where not even their number is known.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.shapes import dims
from pytest_modelcheck.shapes.dims import Dim, is_nonnegative
from pytest_modelcheck.shapes.known import Known
from pytest_modelcheck.shapes.slices import slice_bounds

Elements = Sequence[Dim | None] | None

MAX_ELEMENTS = 64
"""A longer tensor holds no shape, and is never written out: a file of 1 kB may ask for 8 GiB."""


def output_content(node: ir.Node, known: Known) -> Elements:
    """The elements of the only output of a standard-domain node, if its operator has a rule."""
    rule = RULES.get(node.op_type)
    if rule is None or not node.inputs:
        return None
    shape = known.shape(node.outputs[0])
    if shape is not None and len(shape) > 1:
        return None
    return rule(node, known)


def _shape(node: ir.Node, known: Known) -> Elements:
    shape = known.shape(node.inputs[0])
    start, end = integer_attribute(node, "start", 0), integer_attribute(node, "end", 2**31)
    return None if shape is None or start is None or end is None else shape[start:end]


def _size(node: ir.Node, known: Known) -> Elements:
    shape = known.shape(node.inputs[0])
    return None if shape is None else [dims.product(shape)]


def _same(node: ir.Node, known: Known) -> Elements:
    return known.content(node.inputs[0])


def _cast(node: ir.Node, known: Known) -> Elements:
    elements = known.content(node.inputs[0])
    if elements is None or node.outputs[0].dtype == ir.DataType.INT64:
        return elements
    if node.outputs[0].dtype != ir.DataType.BOOL:
        return [None if isinstance(element, int) and abs(element) >= 2**31 else element for element in elements]
    return [int(element != 0) if isinstance(element, int) else None for element in elements]


def _gather(node: ir.Node, known: Known) -> Elements:
    data, indices = known.content(node.inputs[0]), known.constant_content(node.inputs[1])
    source = known.shape(node.inputs[0])
    if data is None or indices is None or source is None or len(source) != 1:
        return None
    if any(not -len(data) <= index < len(data) for index in indices):
        return None
    return [data[index] for index in indices]


def _slice(node: ir.Node, known: Known) -> Elements:
    data, bounds = known.content(node.inputs[0]), slice_bounds(node, known)
    if data is None or bounds is None:
        return None
    start, end, step = bounds.get(0, (0, len(data), 1))
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(step, int)) or step == 0:
        return None
    if step < 0 and end < -len(data):
        return data[start::step]
    return data[start:end:step]


def _concat(node: ir.Node, known: Known) -> Elements:
    parts = [elements for value in node.inputs if (elements := known.content(value)) is not None]
    return [element for part in parts for element in part] if len(parts) == len(node.inputs) else None


def _constant_of_shape(node: ir.Node, known: Known) -> Elements:
    length = known.constant_content(node.inputs[0])
    if length is None or len(length) > 1 or (length and length[0] > MAX_ELEMENTS):
        return None
    attribute = node.attributes.get("value")
    if attribute is not None and attribute.is_ref():
        return None
    value = [0] if attribute is None else attribute.as_tensor().numpy().reshape(-1)
    if len(value) != 1:
        return None
    fill = int(value[0])
    return [fill] * (length[0] if length else 1)


def _expand(node: ir.Node, known: Known) -> Elements:
    elements, target = known.content(node.inputs[0]), known.constant_content(node.inputs[1])
    if elements is None or target is None or len(target) != 1 or target[0] > MAX_ELEMENTS:
        return None
    return elements if len(elements) != 1 else elements * max(target[0], 1)


def _range(node: ir.Node, known: Known) -> Elements:
    bounds = [known.constant_content(value) for value in node.inputs]
    if not all(bounds):
        return None
    start, limit, delta = (bound[0] for bound in bounds if bound is not None)
    return None if delta == 0 or len(range(start, limit, delta)) > MAX_ELEMENTS else list(range(start, limit, delta))


def _elementwise(apply: Callable[..., Dim | None]) -> Callable[[ir.Node, Known], Elements]:
    def rule(node: ir.Node, known: Known) -> Elements:
        operands = [elements for value in node.inputs if (elements := known.content(value)) is not None]
        if len(operands) < len(node.inputs):
            return None
        length = max(map(len, operands)) if all(operands) else 0
        spread = [elements * length if len(elements) == 1 else elements for elements in operands]
        if any(len(elements) != length for elements in spread):
            return None
        return [apply(*row) for row in zip(*spread, strict=True)]

    return rule


def _less(left: Dim, right: Dim) -> Dim | None:
    difference = dims.subtract(right, left)
    if is_nonnegative(dims.subtract(difference, 1)):
        return 1
    return 0 if is_nonnegative(dims.multiply(difference, -1)) else None


def _equal(left: Dim, right: Dim) -> Dim | None:
    if left == right:
        return 1
    return 0 if _less(left, right) == 1 or _less(right, left) == 1 else None


def _or_equal(left: Dim, right: Dim) -> Dim | None:
    return _less(left, dims.add(right, 1))


def _where(condition: Dim, yes: Dim, no: Dim) -> Dim | None:
    if yes == no:
        return yes
    return (yes if condition else no) if isinstance(condition, int) else None


def _not(element: Dim) -> Dim | None:
    return 1 - element if isinstance(element, int) else None


def _and(left: Dim, right: Dim) -> Dim | None:
    if left == 0 or right == 0:
        return 0
    return 1 if left == 1 and right == 1 else None


def _or(left: Dim, right: Dim) -> Dim | None:
    if left == 1 or right == 1:
        return 1
    return 0 if left == 0 and right == 0 else None


def _abs(element: Dim) -> Dim | None:
    if is_nonnegative(element):
        return element
    return abs(element) if isinstance(element, int) else None


def _remainder(node: ir.Node, known: Known) -> Elements:
    return None if integer_attribute(node, "fmod", 0) != 0 else _elementwise(dims.remainder)(node, known)


def _reduce_product(node: ir.Node, known: Known) -> Elements:
    elements, shape = known.content(node.inputs[0]), known.shape(node.inputs[0])
    if elements is None or shape is None or len(shape) != 1 or integer_attribute(node, "noop_with_empty_axes", 0) != 0:
        return None
    return [dims.product(elements)]


RULES: dict[str, Callable[[ir.Node, Known], Elements]] = {
    **dict.fromkeys(("Identity", "Reshape", "Squeeze", "Unsqueeze"), _same),
    "Abs": _elementwise(_abs),
    "Add": _elementwise(dims.add),
    "And": _elementwise(_and),
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": _elementwise(dims.truncated_quotient),
    "Equal": _elementwise(_equal),
    "Expand": _expand,
    "Gather": _gather,
    "Greater": _elementwise(lambda left, right: _less(right, left)),
    "GreaterOrEqual": _elementwise(lambda left, right: _or_equal(right, left)),
    "Less": _elementwise(_less),
    "LessOrEqual": _elementwise(_or_equal),
    "Max": _elementwise(lambda *row: functools.reduce(dims.maximum, row)),
    "Min": _elementwise(lambda *row: functools.reduce(dims.minimum, row)),
    "Mod": _remainder,
    "Mul": _elementwise(dims.multiply),
    "Neg": _elementwise(lambda element: dims.multiply(element, -1)),
    "Not": _elementwise(_not),
    "Or": _elementwise(_or),
    "Range": _range,
    "ReduceProd": _reduce_product,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Sub": _elementwise(dims.subtract),
    "Where": _elementwise(_where),
}
