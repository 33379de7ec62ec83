"""What an operator does to each channel by itself, as ``factor * x + shift``, both of shape (channels,)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import float_attribute, integer_attribute
from pytest_modelcheck.graph.readers import is_needed, read_once
from pytest_modelcheck.rewriting import Match, Op, Pattern, Rewriter, Var, constant
from pytest_modelcheck.rewriting.matching import produced_by, rank

Array = np.ndarray[Any, Any]


def with_constants(value: Pattern, where: Callable[[Match, ir.Node], bool]) -> list[Op]:
    """All that may be done to each channel of `value` with a constant, `where` that counts."""
    number = Var("constant", where=constant)
    forms: list[tuple[str, *tuple[Pattern, ...]]]
    forms = [*((name, value, number) for name in ("Mul", "Add", "Div", "Sub")), ("Sub", number, value), ("Neg", value)]
    return [Op(*form, name="norm", where=where) for form in forms]


def begins_no_gelu(match: Match, node: ir.Node) -> bool:
    """Not so where a Div, Sub or Neg is not all that reads its operand: a GELU divides a value and multiplies it."""
    if node.op_type in ("Mul", "Add"):
        return True
    return all(value is None or constant(match, value) or read_once(value) for value in node.inputs)


def ends_no_gelu(match: Match, node: ir.Node) -> bool:
    """Not so where a Mul is the last factor of ``x * (1 + erf(...)) / 2``."""
    product = produced_by(match.values["x"], "Mul") if node.op_type == "Mul" else None
    sums = [] if product is None else [produced_by(value, "Add") for value in product.inputs]
    return not any(produced_by(value, "Erf", "Tanh") for made in sums if made is not None for value in made.inputs)


def of_norm(rewriter: Rewriter, norm: ir.Node) -> tuple[Array, Array] | str:
    """Factor and shift of the BatchNormalization `norm`, or why they are not constant."""
    if rewriter.opset() < 9 and integer_attribute(norm, "spatial", 1) != 1:
        return "the BatchNormalization has parameters for every element, not for every channel"
    trains = rewriter.opset() < 7 and integer_attribute(norm, "is_test", 0) != 1
    if trains or integer_attribute(norm, "training_mode", 0) or any(map(is_needed, norm.outputs[1:])):
        return "the BatchNormalization is in training mode"
    parameters = [rewriter.constant(value) for value in norm.inputs[1:5]]
    if any(parameter is None for parameter in parameters):
        return "the BatchNormalization parameters are not constants"
    scale, bias, mean, variance = (np.asarray(parameter, dtype=np.float64) for parameter in parameters)
    guarded = variance + float_attribute(norm, "epsilon", 1e-5)
    if not np.all(guarded > 0):
        return "variance + epsilon is not positive everywhere"
    factor = scale / np.sqrt(guarded)
    return factor, bias - mean * factor


def of_constant(rewriter: Rewriter, match: Match, weight: Array) -> tuple[Array, Array] | str:
    """Factor and shift of what is done with a constant before or behind a convolution, or why there are none."""
    node, linear = match.named["norm"], match.named["linear"]
    before = linear is match.root
    channels = weight.shape[1] * group_of(linear) if before or linear.op_type == "ConvTranspose" else weight.shape[0]
    ones, zeros = np.ones(channels), np.zeros(channels)
    if node.op_type == "Neg":
        return -ones, zeros
    number = match.values["constant"]
    array = rewriter.constant(number)
    if rewriter.opset() < 7 or array is None:
        return f"the {node.op_type} has no constant operand that broadcasts"
    spatial = (1,) * (weight.ndim - 2)
    if array.size != 1 and array.shape not in ((channels, *spatial), (1, channels, *spatial)):
        return f"the constant of the {node.op_type} is not one number per channel"
    if array.ndim > weight.ndim or (before and array.ndim == weight.ndim and rank(match.values["x"]) != weight.ndim):
        return f"the constant of the {node.op_type} adds an axis"
    if before and array.size > 1 and _channels(match.values["x"]) != channels:
        return f"the constant of the {node.op_type} may widen the channels"
    each = np.broadcast_to(array.reshape(-1).astype(np.float64), (channels,))
    if node.op_type == "Mul":
        return each, zeros
    if node.op_type == "Div":
        return (1 / each, zeros) if np.all(each) else "the Div divides by zero"
    if node.op_type == "Add":
        return ones, each
    return (-ones, each) if node.inputs[0] is number else (ones, -each)


def _channels(value: ir.Value) -> object:
    return None if value.shape is None or len(value.shape) < 2 else value.shape[1]


def group_of(conv: ir.Node) -> int:
    return integer_attribute(conv, "group", 1) or 1
