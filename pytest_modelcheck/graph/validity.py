"""Checking a model, without serialising its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import onnx
import onnx_ir as ir

from pytest_modelcheck.errors import InvalidModelError
from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.graph.failing_node import failing_node
from pytest_modelcheck.graph.shape_inference import infer, read_small_tensors, without_large_weights


def check_model(model: ir.Model, *, what: str = "model") -> None:
    """Run onnx.checker over `model`.

    Raises:
        InvalidModelError: with the checker's own words and the node; for a node-free graph as well.
    """
    checked(model, what)


def check_and_infer(model: ir.Model, *, what: str = "model") -> list[ir.Value]:
    """`check_model` and `infer_shapes` over one serialisation, which is what takes their time on a large graph.

    Raises:
        InvalidModelError: as `check_model`.
    """
    return infer(model, checked(model, what))


def checked(model: ir.Model, what: str) -> onnx.ModelProto:
    """What the checker saw. Not by onnx_ir's CheckerPass: it looks for each initializer in a list of all of them."""
    if not any(True for _ in model.graph) and not model.graph.outputs:
        raise InvalidModelError(f"{what} is empty: it has no node and no output")
    _refuse_equations(model, what)
    _refuse_calls(model, what)
    read_small_tensors(model)
    try:
        proto = without_large_weights(model)
    except ValueError as error:  # onnx_ir refuses to serialise, e.g. a name used twice
        raise InvalidModelError(f"{what} cannot be written as ONNX: {_first_lines(error)}") from error
    try:
        with _shapes_for_all(proto):
            onnx.checker.check_model(proto)
    except onnx.checker.ValidationError as error:
        node = failing_node(proto)
        place = f" ({node})" if node else ""
        raise InvalidModelError(f"{what} does not pass onnx.checker: {_first_lines(error)}{place}") from error
    return proto


def _refuse_equations(model: ir.Model, what: str) -> None:
    """Einsum with any other character in its equation: the checker takes it, and shape inference never ends (1.23)."""
    for node in all_nodes(model):
        attribute = node.attributes.get("equation") if node.op_type == "Einsum" else None
        if attribute is None or not isinstance(attribute.value, str) or _is_equation(attribute.value):
            continue
        made = node.name or next((value.name for value in node.outputs if value.name), "")
        raise InvalidModelError(f"{what}: the equation {attribute.value!r} of node {made!r} cannot be read")


def _is_equation(text: str) -> bool:
    """Terms of letters, with an ellipsis in each at most: ``"b...ij,jk->b...ik"``."""
    terms, _, result = text.replace(" ", "").partition("->")
    rests = [term.replace("...", "", 1) for term in (*terms.split(","), result)]
    return all(not rest or (rest.isascii() and rest.isalpha()) for rest in rests)


_MOST_NODES = 1_000_000


def _refuse_calls(model: ir.Model, what: str) -> None:
    """Functions that call each other so often that writing their calls out, as onnx does, never ends."""
    counts: dict[ir.OperatorIdentifier, int] = {}

    def written_out(nodes: Iterable[ir.Node]) -> int:
        called = [identifier for node in nodes if (identifier := node.op_identifier()) in model.functions]
        return 1 + sum(of_function(identifier) for identifier in called)

    def of_function(identifier: ir.OperatorIdentifier) -> int:
        if identifier not in counts:
            counts[identifier] = 0  # one that calls itself is the checker's to refuse
            counts[identifier] = written_out(model.functions[identifier].all_nodes())
        return counts[identifier]

    if model.functions and (total := written_out(model.graph.all_nodes())) > _MOST_NODES:
        raise InvalidModelError(f"{what}: its functions call each other {total} times once every call is written out")


@contextlib.contextmanager
def _shapes_for_all(proto: onnx.ModelProto) -> Iterator[None]:
    """Declare a shape for inputs and outputs that have none, which runtimes take and the checker does not."""
    types = [value.type.tensor_type for value in (*proto.graph.input, *proto.graph.output)]
    shapeless = [type_ for type_ in types if type_.elem_type and not type_.HasField("shape")]
    for type_ in shapeless:
        type_.shape.SetInParent()
    try:
        yield
    finally:
        for type_ in shapeless:
            type_.ClearField("shape")


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])
