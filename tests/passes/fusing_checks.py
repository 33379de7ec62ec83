"""Running one pass over a small model, in three places, with its result checked in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper

from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.passes import Pass, Target
from pytest_modelcheck.pipeline import PassRecord, PassStatus, run_pass

Array = np.ndarray[Any, Any]


def make(text: str, **weights: Array) -> onnx.ModelProto:
    """A model from ONNX text; `weights` become initializers."""
    model = onnx.parser.parse_model(text)
    for name, array in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    onnx.checker.check_model(model, full_check=True)
    return model


def in_subgraph(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph as the then-branch of an If that reads the outer inputs; the weights stay outside."""
    graph = model.graph
    then, other = (body_of(graph, branch) for branch in ("then", "else"))
    condition = helper.make_tensor_value_info("condition", onnx.TensorProto.BOOL, [])
    choice = helper.make_node("If", ["condition"], [o.name for o in graph.output], then_branch=then, else_branch=other)
    outer = helper.make_graph([choice], "outer", [*graph.input, condition], graph.output, graph.initializer)
    return around(model, outer)


def body_of(
    graph: onnx.GraphProto,
    name: str,
    inputs: Sequence[onnx.ValueInfoProto] = (),
    outputs: Sequence[onnx.ValueInfoProto] = (),
    nodes: Sequence[onnx.NodeProto] = (),
) -> onnx.GraphProto:
    """`graph` as a subgraph that captures its inputs and weights; `inputs`, `outputs` and `nodes` stand before its own.

    Every value that it makes ends in `name`.
    """
    names = {output: f"{output}_{name}" for node in graph.node for output in node.output if output}
    made = helper.make_graph([*nodes, *graph.node], name, inputs, [*outputs, *graph.output])
    for node in made.node[len(nodes) :]:
        node.name = f"{node.output[0]}_{name}_node"
        _rename(node, names)
    for output in made.output[len(outputs) :]:
        output.name = names[output.name]
    return made


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Give the values of `node` new names, in its subgraphs too."""
    for field in (node.input, node.output):
        field[:] = [names.get(name, name) for name in field]
    for attribute in node.attribute:
        own = {output for inner in attribute.g.node for output in inner.output}
        own |= {value.name for value in (*attribute.g.input, *attribute.g.initializer)}
        for inner in attribute.g.node:
            _rename(inner, {old: new for old, new in names.items() if old not in own})


def around(model: onnx.ModelProto, outer: onnx.GraphProto) -> onnx.ModelProto:
    """A model of the graph `outer`, with opsets and functions of `model`."""
    made = helper.make_model(
        outer, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def in_function(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph as the body of a function that the main graph calls; its weights are Constant nodes there."""
    graph = model.graph
    constants = [helper.make_node("Constant", [], [t.name], value=t) for t in graph.initializer]
    inputs, outputs = [i.name for i in graph.input], [o.name for o in graph.output]
    function = helper.make_function(
        "test.local", "Body", inputs, outputs, [*constants, *graph.node], list(model.opset_import)
    )
    call = helper.make_node("Body", inputs, outputs, domain="test.local")
    imports = [*model.opset_import, helper.make_opsetid("test.local", 1)]
    made = helper.make_model(
        helper.make_graph([call], "main", graph.input, graph.output),
        functions=[function],
        opset_imports=imports,
        ir_version=model.ir_version,
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def feeds(model: onnx.ModelProto, kind: str, *, size: int = 3) -> dict[str, Array]:
    """Inputs by name, seeded: floats from N(0,1), N(-2,1) or U(0,1), ints in 0..3, bools with both values.

    Symbolic dimensions become `size`, `size` + 1 ... in the order in which their names appear; unnamed ones `size`.
    """
    draw = np.random.default_rng(7)
    made: dict[str, Array] = {}
    named: dict[str, int] = {"": size}
    for value in model.graph.input:
        dims = value.type.tensor_type.shape.dim
        for dim in dims:
            named.setdefault(dim.dim_param, size + len(named) - 1)
        shape = [d.dim_value if d.HasField("dim_value") else named[d.dim_param] for d in dims]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if dtype == np.bool_:
            made[value.name] = np.asarray(draw.random(shape) < 0.7)
        elif np.issubdtype(dtype, np.integer):
            made[value.name] = draw.integers(0, 4, shape).astype(dtype)
        else:
            drawn = {"n": draw.normal(0, 1, shape), "n-2": draw.normal(-2, 1, shape), "u": draw.random(shape)}[kind]
            made[value.name] = np.asarray(drawn).astype(dtype)
    return made


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    """onnxruntime with its own optimizer off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def outputs(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What onnxruntime computes with its own optimizer off."""
    opened = session(model)
    names = [o.name for o in opened.get_outputs()]
    return dict(zip(names, opened.run(names, dict(inputs)), strict=True))


def worst_difference(before: onnx.ModelProto, after: onnx.ModelProto, *, size: int = 3) -> float:
    """Largest scaled difference (max abs / max(1, max abs of the reference)) over the three kinds of inputs.

    Raises:
        AssertionError: NaN on one side only, or outputs of another name, type or shape.
    """
    worst = 0.0
    for kind in ("n", "n-2", "u"):
        given = feeds(before, kind, size=size)
        reference, found = outputs(before, given), outputs(after, given)
        assert list(reference) == list(found)
        for name, expected in reference.items():
            assert expected.dtype == found[name].dtype
            assert expected.shape == found[name].shape, name
            assert np.array_equal(np.isnan(expected), np.isnan(found[name])), f"{name} has NaN on one side"
            if expected.size and expected.dtype != np.bool_:
                difference = np.nanmax(np.abs(expected.astype(np.float64) - found[name].astype(np.float64)))
                worst = max(worst, float(difference / max(1.0, np.nanmax(np.abs(expected)))))
    return worst


def fires(
    pass_: Pass,
    model: onnx.ModelProto,
    *,
    target: Target = "portable",
    tolerance: float = 1e-5,
    size: int = 3,
) -> dict[str, int]:
    """Run `pass_`, which must change the graph, not the numbers, and find nothing in a second run. Gives op counts."""
    before = ir.from_proto(model)
    after, record = run_pass(before, pass_, target)
    assert record.status is PassStatus.FIRED, (record.status, record.error, record.refusals)
    assert record.claimed
    assert worst_difference(model, ir.to_proto(after), size=size) <= tolerance
    again, second = run_pass(after, pass_, target)
    assert not second.changed, second
    assert again is after
    repeated, _ = run_pass(ir.from_proto(model), pass_, target)
    assert ir.to_proto(repeated).SerializeToString(deterministic=True) == ir.to_proto(after).SerializeToString(
        deterministic=True
    )
    return op_counts(after)


def refuses(pass_: Pass, model: onnx.ModelProto, *, target: Target = "portable") -> set[str]:
    """Run `pass_`, which must leave the model alone. Gives the reasons."""
    _, record = run_pass(ir.from_proto(model), pass_, target)
    assert record.status is PassStatus.REFUSED, (record.status, record.error, record.ops_delta)
    return {refusal.reason for refusal in record.refusals}


def ignores(pass_: Pass, model: onnx.ModelProto, *, target: Target = "portable") -> PassRecord:
    """Run `pass_`, which must find nothing to do at all."""
    _, record = run_pass(ir.from_proto(model), pass_, target)
    assert record.status is PassStatus.NO_OP, (record.status, record.error, record.refusals)
    return record
