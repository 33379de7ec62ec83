"""One rule per operator for the elements of shape tensors: 0-D or 1-D integer (or bool: 0, 1) tensors.

A rule gives the elements with None for one that it cannot say, or None where not even their number is known.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import onnx_ir as ir

from pytest_modelcheck.shapes import dims
from pytest_modelcheck.shapes.dims import Dim, is_nonnegative
from pytest_modelcheck.shapes.known import Facts, Known, Unknown
from pytest_modelcheck.shapes.slices import slice_bounds

Elements = Sequence[Dim | None] | None

Rule = Callable[[Facts], Elements]

MAX_ELEMENTS = 64
"""A longer tensor holds no shape, and is never written out: a file of 1 kB may ask for 8 GiB."""


def output_content(node: ir.Node, known: Known) -> Elements:
    """The elements of the only output of a standard-domain node, if its operator has a rule."""
    rule = RULES.get(node.op_type)
    if rule is None or len(known.shape(node.outputs[0]) or ()) > 1:
        return None
    try:
        return rule(Facts(node, known))
    except Unknown:
        return None


def _shape(of: Facts) -> Elements:
    return of.shape()[of.integer("start", 0) : of.integer("end", 2**31)]


def _size(of: Facts) -> Elements:
    return [dims.product(of.shape())]


def _same(of: Facts) -> Elements:
    return of.content()


def _cast(of: Facts) -> Elements:
    elements, dtype = of.content(), of.node.outputs[0].dtype
    if dtype == ir.DataType.INT64:
        return elements
    if dtype != ir.DataType.BOOL:
        return [None if isinstance(element, int) and abs(element) >= 2**31 else element for element in elements]
    return [int(element != 0) if isinstance(element, int) else None for element in elements]


def _gather(of: Facts) -> Elements:
    data, indices = of.content(0), of.numbers(1)
    if len(of.shape()) != 1 or any(not -len(data) <= index < len(data) for index in indices):
        return None
    return [data[index] for index in indices]


def _slice(of: Facts) -> Elements:
    data = of.content()
    start, end, step = slice_bounds(of).get(0, (0, len(data), 1))
    if not (isinstance(start, int) and isinstance(end, int) and isinstance(step, int)) or step == 0:
        return None
    return data[start::step] if step < 0 and end < -len(data) else data[start:end:step]


def _concat(of: Facts) -> Elements:
    return [element for index in range(len(of.node.inputs)) for element in of.content(index)]


def _constant_of_shape(of: Facts) -> Elements:
    length, attribute = of.numbers(), of.node.attributes.get("value")
    if len(length) > 1 or (length and length[0] > MAX_ELEMENTS) or (attribute is not None and attribute.is_ref()):
        return None
    value = [0] if attribute is None else attribute.as_tensor().numpy().reshape(-1)
    return [int(value[0])] * (length[0] if length else 1) if len(value) == 1 else None


def _expand(of: Facts) -> Elements:
    elements, target = of.content(0), of.numbers(1)
    if len(target) != 1 or target[0] > MAX_ELEMENTS:
        return None
    return elements if len(elements) != 1 else elements * max(target[0], 1)


def _range(of: Facts) -> Elements:
    bounds = [of.numbers(index) for index in range(3)]
    if not all(bounds) or bounds[2][0] == 0:
        return None
    elements = range(*(bound[0] for bound in bounds))
    return None if len(elements) > MAX_ELEMENTS else list(elements)


def _elementwise(apply: Callable[..., Dim | None]) -> Rule:
    def rule(of: Facts) -> Elements:
        operands = [of.content(index) for index in range(len(of.node.inputs))]
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


def _remainder(of: Facts) -> Elements:
    return None if of.integer("fmod", 0) != 0 else _elementwise(dims.remainder)(of)


def _reduce_product(of: Facts) -> Elements:
    plain = len(of.shape()) == 1 and of.integer("noop_with_empty_axes", 0) == 0
    return [dims.product(of.content())] if plain else None


RULES: dict[str, Rule] = {
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
