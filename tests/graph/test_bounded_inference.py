"""Shape inference of files that were built to take all memory, or never to end."""

import numpy as np
import onnx
import pytest

from pytest_modelcheck.errors import InvalidModelError
from pytest_modelcheck.graph import bounded_inference
from pytest_modelcheck.graph.bounded_inference import infer_with_values
from pytest_modelcheck.graph.from_proto import model_from_proto
from pytest_modelcheck.graph.validity import check_model
from tests.hostile.bases import bases, model_of


def dims(model, name):
    (found,) = [info for info in (*model.graph.value_info, *model.graph.output) if info.name == name]
    return [dim.dim_value or dim.dim_param for dim in found.type.tensor_type.shape.dim]


def shapes():
    return onnx.ModelProto.FromString(bases()["shapes"])


def adds_of_an_expand(size, adds=20):
    nodes = [onnx.helper.make_node("Expand", ["one", "size"], ["v0"])]
    nodes += [onnx.helper.make_node("Add", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(adds)]
    return model_of(nodes, outputs=(f"v{adds}",), weights={"one": np.array([1]), "size": np.array([size])})


def test_values_of_small_tensors_are_followed():
    assert dims(infer_with_values(shapes()), "r") == [2, 3]
    plain = onnx.shape_inference.infer_shapes(shapes())
    assert dims(plain, "r") != [2, 3]


@pytest.mark.parametrize(("less", "followed"), [(0, True), (1, False)])
def test_all_1_d_tensors_together_have_a_bound(monkeypatch, less, followed):
    lengths = list(bounded_inference._lengths(onnx.shape_inference.infer_shapes(shapes()).graph))
    monkeypatch.setattr(bounded_inference, "_MOST_ELEMENTS", sum(lengths) - less)
    assert sum(lengths) > 1
    assert (dims(infer_with_values(shapes()), "r") == [2, 3]) is followed


def test_tensors_of_branches_count():
    branch = onnx.helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [7])
    graph = onnx.ModelProto.FromString(bases()["branches"]).graph
    graph.node[2].attribute[1].g.value_info.append(branch)
    assert 7 in list(bounded_inference._lengths(graph))


def test_the_shapes_of_what_is_too_long_are_inferred_all_the_same():
    assert dims(infer_with_values(adds_of_an_expand(2**20)), "v19") == [2**20]


def einsum(equation, inputs=1):
    return model_of([onnx.helper.make_node("Einsum", ["x"] * inputs, ["y"], equation=equation)])


@pytest.mark.parametrize(
    "equation", [".ij->ij", "ij->ij.", "i;j", "....ij", "i...j...", "ij->i->j", "1j", "é", "\x00", "ij\n"]
)
def test_an_equation_on_which_shape_inference_would_hang_is_refused(equation):
    with pytest.raises(InvalidModelError) as caught:
        check_model(model_from_proto(einsum(equation)))
    assert str(caught.value) == f"model: the equation {equation!r} of node 'y' cannot be read"


@pytest.mark.parametrize("equation", ["ij->ji", "ij", "...ij -> ... ji", "...", "i j->ij", "b...c->c", "ij->"])
def test_an_equation_of_letters_is_not(equation):
    check_model(model_from_proto(einsum(equation)))


def calls(levels):
    """Functions of which each calls the next one twice."""
    opsets = [onnx.helper.make_opsetid("", 18), onnx.helper.make_opsetid("mine", 1)]
    made = []
    for level in range(levels):
        body = [
            onnx.helper.make_node(f"F{level + 1}", ["a"], ["s"], domain="mine"),
            onnx.helper.make_node(f"F{level + 1}", ["s"], ["b"], domain="mine"),
        ]
        made.append(onnx.helper.make_function("mine", f"F{level}", ["a"], ["b"], body, opsets))
    last = [onnx.helper.make_node("Relu", ["a"], ["b"])]
    made.append(onnx.helper.make_function("mine", f"F{levels}", ["a"], ["b"], last, opsets))
    model = model_of([onnx.helper.make_node("F0", ["x"], ["y"], domain="mine")])
    model.opset_import.add(domain="mine", version=1)
    model.functions.extend(made)
    return model_from_proto(model)


def test_functions_whose_calls_double_at_every_level_are_refused():
    with pytest.raises(InvalidModelError, match=r"^model: its functions call each other 2097152 times once every call"):
        check_model(calls(20))
    check_model(calls(4))
