"""Small sound models, from which hostile ones are made: name -> bytes."""

import functools

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = [helper.make_opsetid("", 18)]


def graph_of(nodes, inputs=("x",), outputs=("y",), weights=None, name="g", shape=(2, 3)):
    """A graph of float tensors; weights: name -> array."""

    def port(label):
        return helper.make_tensor_value_info(label, TensorProto.FLOAT, shape)

    stored = [numpy_helper.from_array(array, label) for label, array in (weights or {}).items()]
    return helper.make_graph(nodes, name, [port(i) for i in inputs], [port(o) for o in outputs], stored)


def model_of(nodes, **parts):
    """A model of `graph_of`."""
    return model_around(graph_of(nodes, **parts))


def model_around(graph, opsets=OPSETS, **parts):
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **parts)


def _net():
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.normal(size=(4, 2, 3, 3)).astype(np.float32),
        "scale": np.ones(4, np.float32),
        "shift": np.zeros(4, np.float32),
        "mean": np.zeros(4, np.float32),
        "var": np.ones(4, np.float32),
        "shape": np.array([1, -1], np.int64),
        "dense": rng.normal(size=(64, 5)).astype(np.float32),
        "bias": np.zeros(5, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "var"], ["b"], name="norm"),
        helper.make_node("Relu", ["b"], ["r"]),
        helper.make_node("Transpose", ["r"], ["t"], perm=[0, 2, 3, 1]),
        helper.make_node("Identity", ["t"], ["i"]),
        helper.make_node("Reshape", ["i", "shape"], ["f"]),
        helper.make_node("MatMul", ["f", "dense"], ["m"]),
        helper.make_node("Add", ["m", "bias"], ["y"]),
    ]
    graph = graph_of(nodes, weights=weights)
    del graph.input[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2, 4, 4]))
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5]))
    return model_around(graph)


def _branches():
    branch = graph_of([helper.make_node("Relu", ["x"], ["then"])], inputs=(), outputs=("then",))
    other = graph_of([helper.make_node("Neg", ["x"], ["else"])], inputs=(), outputs=("else",))
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=branch, else_branch=other),
    ]
    return model_of(nodes, weights={"zero": np.array(0, np.float32)})


def _function():
    body = [helper.make_node("Mul", ["a", "a"], ["squared"]), helper.make_node("Add", ["squared", "a"], ["b"])]
    function = helper.make_function("mine", "Twice", ["a"], ["b"], body, OPSETS)
    nodes = [
        helper.make_node("Twice", ["x"], ["t"], domain="mine"),
        helper.make_node("Twice", ["t"], ["y"], domain="mine"),
    ]
    return model_around(graph_of(nodes), [*OPSETS, helper.make_opsetid("mine", 1)], functions=[function])


def _shapes():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["u"]),
        helper.make_node("Concat", ["u", "minus"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["r"]),
        helper.make_node("Slice", ["r", "axes", "minus", "axes"], ["cut"]),
        helper.make_node("Expand", ["cut", "wide"], ["e"]),
        helper.make_node("Add", ["x", "e"], ["y"]),
    ]
    whole = {"zero": np.array(0), "axes": np.array([0]), "minus": np.array([-1]), "wide": np.array([2, 3])}
    return model_of(nodes, weights={name: array.astype(np.int64) for name, array in whole.items()})


@functools.cache
def bases():
    """Name -> a model in bytes that onnx.checker takes."""
    models = {"net": _net(), "branches": _branches(), "function": _function(), "shapes": _shapes()}
    for model in models.values():
        onnx.checker.check_model(model)
    return {name: model.SerializeToString() for name, model in models.items()}
