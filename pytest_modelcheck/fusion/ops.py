"""The compute nodes of a captured graph and the data flow between them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from pytest_modelcheck.capture import Captured
from pytest_modelcheck.fusion.rules import VIEW, names

BOOKKEEPING = names(
    "getitem getattr size sym_size sym_numel dim numel tuple list clone alias detach lift_fresh_copy "
    "_assert_tensor_metadata _assert_async _assert_scalar sym_constrain_range_for_size"
)
"""Operators that compute nothing: they name a part of a result, ask for a size, or hand a tensor on."""

SHOWN_ARGUMENTS = names(
    "approximate dim dim0 dim1 dims is_causal stride padding dilation groups negative_slope index start end step "
    "diagonal k largest descending shifts ceil_mode count_include_pad output_size enable_gqa"
)
"""Arguments that a snapshot shows where they are ints, bools or lists of ints; strings are always shown."""


@dataclass(eq=False, slots=True)
class Op:
    """One compute node.

    Attributes:
        index: Its place among the compute nodes, in graph order.
        name: Operator name without namespace and overload, e.g. ``"linear"``.
        label: `name` with the arguments that matter, e.g. ``"gelu[approximate=tanh]"``.
        owner: Module path, ``""`` for the root module.
        call: Which call of that module it belongs to: 0, 1, ... for a module that is called several times.
        inputs: The compute nodes whose results it reads, in argument order; bookkeeping between them is looked through.
        users: The compute nodes that read its result, in graph order.
        arguments: What it reads but its weights, in argument order: a compute node, or an input of the graph.
        is_output: Whether its result is an output of the graph.
        has_parameter: Whether it reads a parameter or buffer, or a value made of these alone (part of a packed weight).
        of_parameters: Whether everything it reads is of that kind.
        node: The graph node itself.
    """

    index: int
    name: str
    label: str
    owner: str
    call: int
    node: torch.fx.Node
    inputs: list[Op] = field(default_factory=list)
    users: list[Op] = field(default_factory=list)
    arguments: list[Op | torch.fx.Node] = field(default_factory=list)
    is_output: bool = False
    has_parameter: bool = False
    of_parameters: bool = False

    def __repr__(self) -> str:
        return f"<{self.label} of {self.owner or 'the root'}>"


@dataclass(frozen=True, slots=True)
class OpGraph:
    """The compute nodes of one captured graph.

    Attributes:
        ops: In graph order.
        bookkeeping: How many bookkeeping nodes come with them.
        outputs: The compute nodes whose results the graph returns, in order; None for an input that is handed through.
        made: Graph node -> its compute node.
    """

    ops: tuple[Op, ...]
    bookkeeping: int
    outputs: tuple[Op | None, ...]
    made: dict[torch.fx.Node, Op] = field(repr=False)
    parameters: frozenset[torch.fx.Node] = field(repr=False)

    def of(self, node: object) -> Op | None:
        """The compute node that makes the value of a graph node; None for a placeholder, a constant or no node."""
        return _producer(node, self.made)

    def is_weight(self, node: object) -> bool:
        """Whether the value of a graph node is a weight as it is, or in another layout."""
        source = _source(node, self.made)
        while isinstance(source, Op) and source.of_parameters and source.name in VIEW:
            source = _source(next(_input_nodes(source.node), None), self.made)
        return source in self.parameters


def op_graph(captured: Captured) -> OpGraph:
    """Read the compute nodes of `captured` and connect them; an arange that is made again is the first one."""
    parameters = _parameters(captured)
    made: dict[torch.fx.Node, Op] = {}
    ops: list[Op] = []
    counts: dict[str, Op] = {}
    bookkeeping = 0
    outputs: tuple[Op | None, ...] = ()
    for node in captured.graph.nodes:
        if node.op == "output":
            outputs = tuple(_producer(value, made) for value in _input_nodes(node))
        if node.op not in ("call_function", "call_method", "call_module"):
            continue
        name = node_type(captured, node)
        again = _counting(name, node)
        if again in counts:
            made[node] = counts[again]
        if again in counts or _is_bookkeeping(name, node):
            bookkeeping += 1
            continue
        owner, call = owner_of(node)
        op = Op(len(ops), name, _label(name, node), owner, call, node)
        ops.append(op)
        if again:
            counts[again] = op
        sources = [source for value in _input_nodes(node) if (source := _source(value, made)) is not None]
        weights = [source in parameters or (isinstance(source, Op) and source.of_parameters) for source in sources]
        op.has_parameter = node.op == "call_module" or any(weights)
        op.of_parameters = bool(weights) and all(weights)
        for source, is_weight in zip(sources, weights, strict=True):
            if not is_weight and source not in op.arguments:
                op.arguments.append(source)
            if isinstance(source, Op) and source not in op.inputs:
                op.inputs.append(source)
                source.users.append(op)
        made[node] = op
    for op in ops:
        op.is_output = op in outputs
    return OpGraph(tuple(ops), bookkeeping, outputs, made, frozenset(parameters))


RESHAPING = names("view reshape _unsafe_view flatten unflatten expand expand_as slice squeeze")
"""Operators that do nothing where the shape stays the same."""

ADDING = names("add add_ iadd")
"""Operators that do nothing where an integer 0 is added to integers."""

_INTEGERS = frozenset({torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64})


def _is_bookkeeping(name: str, node: torch.fx.Node) -> bool:
    if name in RESHAPING:
        return _keeps_its_shape(node)
    if name in ADDING:
        return _adds_nothing(node)
    # a clone that changes the memory layout (contiguous) does work; a plain one is what Dropout leaves in eval mode
    return name in BOOKKEEPING and not (name == "clone" and node.kwargs.get("memory_format") is not None)


def _counting(name: str, node: torch.fx.Node) -> str:
    """What an arange counts, with the sizes of the example; empty for other operators."""
    if name != "arange":
        return ""
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda size: size.meta.get("val", size))
    start_to_end = (0, *args) if len(args) == 1 else args
    named = {key: kwargs[key] for key in ("start", "end", "step") if key in kwargs}
    return f"{(*start_to_end, 1)[:3]} {named} {getattr(node.meta.get('val'), 'dtype', kwargs.get('dtype'))}"


def _keeps_its_shape(node: torch.fx.Node) -> bool:
    """Whether a reshaping does nothing: ``x.view(x.shape)``, ``x[:]``; False where a shape is not known."""
    shapes = []
    for each in (node, next(_input_nodes(node), None)):
        value = None if each is None else each.meta.get("val")
        if not isinstance(value, torch.Tensor):
            return False
        shapes.append([str(size) for size in value.shape])
    return shapes[0] == shapes[1] and node.op == "call_function"


def _adds_nothing(node: torch.fx.Node) -> bool:
    """Whether the integer 0 is added to integers: ``torch.arange(length) + past`` of a model without a cache."""
    operands = [*node.args, *(value for name, value in node.kwargs.items() if name in ("input", "other"))]
    added = next((value.meta.get("val") for value in operands if isinstance(value, torch.fx.Node)), None)
    if not isinstance(added, torch.Tensor) or added.dtype not in _INTEGERS:
        return False
    return any(type(value) is int and value == 0 for value in operands)


def _producer(node: object, made: dict[torch.fx.Node, Op]) -> Op | None:
    source = _source(node, made)
    return source if isinstance(source, Op) else None


def _source(node: object, made: dict[torch.fx.Node, Op]) -> Op | torch.fx.Node | None:
    """The compute node or the input of the graph that a value comes from, through bookkeeping, which hands on its first
    operand."""
    while isinstance(node, torch.fx.Node):
        if node in made:
            return made[node]
        if node.op not in ("call_function", "call_method"):
            return node
        node = next(_input_nodes(node), None)
    return None


def _input_nodes(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    yield from _nodes_in((*node.args, *node.kwargs.values()))


def _nodes_in(value: Any) -> Iterator[torch.fx.Node]:
    if isinstance(value, torch.fx.Node):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _nodes_in(item)
    elif isinstance(value, dict):
        yield from _nodes_in(tuple(value.values()))


def _parameters(captured: Captured) -> set[torch.fx.Node]:
    if captured.program is None:
        return {node for node in captured.graph.nodes if node.op == "get_attr"}
    signature = captured.program.graph_signature
    named = {
        *signature.inputs_to_parameters,
        *signature.inputs_to_buffers,
        *signature.inputs_to_lifted_tensor_constants,
    }
    return {node for node in captured.graph.nodes if node.op == "placeholder" and node.name in named}


def node_type(captured: Captured, node: torch.fx.Node) -> str:
    """Class name of a called module; name of a called function or method, without namespace and overload."""
    if node.op == "call_module":
        return type(captured.graph_module.get_submodule(str(node.target))).__name__
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.rpartition("::")[2]
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


_WHOLE = (("start", 0), ("step", 1))


def _label(name: str, node: torch.fx.Node) -> str:
    shown = []
    for argument, value in _named_arguments(node):
        if (argument, value) in _WHOLE or (argument == "end" and isinstance(value, int) and value >= 0):
            continue  # a slice from the beginning; an end that counts from there is a size of the example
        if isinstance(value, str) or (argument in SHOWN_ARGUMENTS and _is_plain(value)):
            text = ",".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
            shown.append(f"{argument}={text}")
    return f"{name}[{' '.join(shown)}]" if shown else name


def _named_arguments(node: torch.fx.Node) -> Iterator[tuple[str, Any]]:
    """The arguments that differ from the operator's defaults, by name."""
    if not isinstance(node.target, torch._ops.OpOverload):
        yield from node.kwargs.items()
        return
    arguments = node.target._schema.arguments
    given = dict(zip((argument.name for argument in arguments), node.args, strict=False)) | dict(node.kwargs)
    for argument in arguments:
        if argument.name in given:
            value = given[argument.name]
            if not argument.has_default_value() or value != argument.default_value:
                yield argument.name, value


def _is_plain(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, list | tuple) and all(isinstance(item, int) for item in value))


def owner_of(node: torch.fx.Node) -> tuple[str, int]:
    """The module path of a graph node, and which call of that module it belongs to."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return "", 0
    key, (path, _) = list(stack.items())[-1]
    match = re.search(r"@(\d+)$", str(key))
    return re.sub(r"@\d+", "", str(path)), int(match[1]) if match else 0
