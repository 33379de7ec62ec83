"""`find_first_divergence`: planted differences are found at their node, between graphs and against the torch module."""

import math

import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.accuracy import UnusableReferenceError, find_first_divergence
from pytest_modelcheck.accuracy.inner_values import merges_into
from pytest_modelcheck.calling import build_module, module_inputs
from pytest_modelcheck.export import export
from pytest_modelcheck.runtimes import AT_DEFAULT_LEVEL

LENGTH = 200


def chain(changed=None, constant=1.001):
    """y = x plus 0.001 many times over; one of the constants may be another one."""
    values = [f"float c{i} = {{{constant if i == changed else 0.001}}}" for i in range(LENGTH)]
    steps = [f"v{i} = Add({f'v{i - 1}' if i else 'first'}, c{i})" for i in range(LENGTH)]
    text = f"""<ir_version: 8, opset_import: ["" : 18]>
    g (float[4] x) => (float[4] y) <{", ".join(values)}> {{
     first = Relu(x)
     {chr(10).join(steps)}
     y = Neg(v{LENGTH - 1})
    }}"""
    model = ir.from_onnx_text(text)
    for node in model.graph:
        node.name = f"node_{node.outputs[0].name}"
    return model


X = {"x": np.array([1.0, 2.0, 3.0, 4.0], np.float32)}


def test_graphs_that_agree_have_no_divergence():
    assert find_first_divergence(chain(), chain(), X) is None


@pytest.mark.parametrize("changed", [0, 1, 77, LENGTH - 1])
def test_one_changed_constant_is_found_at_its_node_within_a_few_rounds(changed):
    found = find_first_divergence(chain(), chain(changed), X)
    assert found.value == f"v{changed}"
    assert found.nodes == (f"Add 'node_v{changed}'",)
    assert found.initializers == (f"c{changed}",)
    assert found.agreeing == (f"v{changed - 1}" if changed else "first",)
    assert found.rounds <= 4
    assert found.looked < LENGTH
    assert found.looking_changed == 0.0
    text = "\n".join(found.describe())
    assert f"first difference at Add 'node_v{changed}'" in text
    assert f"initializers that differ: c{changed}" in text


def test_a_difference_below_the_tolerance_that_grows_is_traced_to_where_it_began():
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[4] x) => (float[4] y) <float small = {SMALL}, float big = {100}> {
     a = Add(x, small)
     b = Relu(a)
     c = Sub(b, x)
     y = Mul(c, big)
    }"""
    reference = ir.from_onnx_text(text.replace("SMALL", "0.5"))
    candidate = ir.from_onnx_text(text.replace("SMALL", "0.50002"))
    found = find_first_divergence(reference, candidate, X)
    assert found.value == "a"
    assert found.initializers == ("small",)


def test_only_the_branch_that_differs_is_blamed():
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[4] x) => (float[4] left, float[4] right) <float one = {1}, float two = {TWO}> {
     a = Add(x, one)
     left = Relu(a)
     b = Mul(x, two)
     c = Abs(b)
     right = Add(a, c)
    }"""
    found = find_first_divergence(
        ir.from_onnx_text(text.replace("TWO", "2")), ir.from_onnx_text(text.replace("TWO", "2.1")), X
    )
    assert found.value == "b"


@pytest.mark.parametrize("length", [150, 151, 152])
def test_of_two_branches_that_differ_the_first_in_the_order_of_the_graph_is_found(length):
    """As where the weights of key and value are exchanged: the search may meet the value's branch first."""
    steps = "\n".join(f"b{i} = Add({f'b{i - 1}' if i else 'right'}, one)" for i in range(length))
    text = f"""<ir_version: 8, opset_import: ["" : 18]>
    g (float[4] x) => (float[4] y) <float two = {{TWO}}, float three = {{THREE}}, float one = {{1}}> {{
     left = Mul(x, two)
     right = Mul(x, three)
     {steps}
     y = Sub(left, b{length - 1})
    }}"""
    reference = ir.from_onnx_text(text.replace("TWO", "2").replace("THREE", "3"))
    candidate = ir.from_onnx_text(text.replace("TWO", "3").replace("THREE", "2"))
    found = find_first_divergence(reference, candidate, X)
    assert (found.value, found.initializers) == ("left", ("two",))


def test_another_operator_under_the_same_name_is_found():
    text = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[4] x) => (float[4] y) {
     a = Neg(x)
     b = Gelu <approximate = "KIND"> (a)
     y = Exp(b)
    }"""
    reference, candidate = (ir.from_onnx_text(text.replace("KIND", kind)) for kind in ("none", "tanh"))
    assert find_first_divergence(reference, candidate, X).value == "b"


def test_a_nan_that_only_the_candidate_makes_is_found_where_it_begins():
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[4] x) => (float[4] y) <float shift = {SHIFT}> {
     a = Sub(x, shift)
     b = Sqrt(a)
     y = Neg(b)
    }"""
    found = find_first_divergence(
        ir.from_onnx_text(text.replace("SHIFT", "0.5")), ir.from_onnx_text(text.replace("SHIFT", "0.500001")), X
    )
    assert found is None  # both are numbers, and close
    found = find_first_divergence(
        ir.from_onnx_text(text.replace("SHIFT", "0.999999")), ir.from_onnx_text(text.replace("SHIFT", "1.000001")), X
    )
    assert found.value == "b"
    assert "nan instead of" in found.comparison.detail or "NaN" in found.comparison.detail


def test_a_nan_inside_that_both_have_and_a_guard_removes_is_agreement():
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[4] x) => (float[4] y) <float zero = {0}, float two = {TWO}> {
     a = Div(zero, zero)
     isnan = IsNaN(a)
     safe = Where(isnan, x, a)
     y = Mul(safe, two)
    }"""
    found = find_first_divergence(
        ir.from_onnx_text(text.replace("TWO", "2")), ir.from_onnx_text(text.replace("TWO", "3")), X
    )
    assert found.value == "y"


def test_a_mask_of_huge_values_does_not_hide_the_difference_before_it():
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[4] x) => (float[4] y) <float two = {TWO}, float[4] mask = {0, 0, 0, -3e38}> {
     scores = Mul(x, two)
     masked = Add(scores, mask)
     y = Softmax(masked)
    }"""
    found = find_first_divergence(
        ir.from_onnx_text(text.replace("TWO", "2")), ir.from_onnx_text(text.replace("TWO", "2.1")), X
    )
    assert found.value == "scores"


def test_a_stretch_that_the_reference_does_not_have_is_named_as_a_whole():
    reference = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[4] x) => (float[4] y) <float three = {3}> {
     a = Neg(x)
     b = Mul(a, three)
     y = Relu(b)
    }"""
    candidate = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[4] x) => (float[4] y) <float two = {2.5}> {
     a = Neg(x)
     new_1 = Mul(a, two)
     new_2 = Abs(new_1)
     b = Sub(a, new_2)
     y = Abs(b)
    }"""
    found = find_first_divergence(ir.from_onnx_text(reference), ir.from_onnx_text(candidate), X)
    assert found.value == "b"
    assert [place.split()[0] for place in found.nodes] == ["Mul", "Abs", "Sub"]
    assert found.agreeing == ("a",)
    assert "or in the 2 nodes before it that the reference does not have" in "\n".join(found.describe())


@pytest.mark.parametrize(
    ("left", "right", "merges"),
    [
        ((2, 32, 768), (2, 32, 768), True),
        ((2, 32, 768), (64, 768), True),
        ((64, 768), (2, 32, 768), True),
        ((2, 32, 768), (2, 768, 32), False),
        ((2, 3), (3, 2), False),
        ((2, 3, 4), (6, 4), True),
        ((2, 3, 4), (2, 12), True),
        ((2, 3, 4), (8, 3), False),
        ((1, 4), (4,), True),
        ((4,), (4, 1), True),
        ((), (1,), True),
        ((1, 1, 4), (2, 2), True),
        ((4,), (5,), False),
        ((4,), (4, 2), False),
    ],
)
def test_shapes_that_keep_the_order_of_elements_merge_into_each_other(left, right, merges):
    assert merges_into(left, right) is merges


def test_a_layer_that_runs_on_flattened_rows_is_still_compared_by_name():
    reference = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[2,2,4] x) => (float[2,2,4] y) <float[4,4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}, float two = {2}> {
     a = MatMul(x, w)
     b = Tanh(a)
     y = Mul(b, two)
    }"""
    candidate = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[2,2,4] x) => (float[2,2,4] y) <float[4,4] w = {1,2,3,4,5,6,7,8,9,1,2,3,4,5,6,7}, float two = {2.1},
      int64[2] rows = {-1, 4}, int64[3] back = {2, 2, 4}> {
     flat = Reshape(x, rows)
     a = MatMul(flat, w)
     b = Tanh(a)
     shaped = Reshape(b, back)
     y = Mul(shaped, two)
    }"""
    x = {"x": np.random.default_rng(0).standard_normal((2, 2, 4)).astype(np.float32)}
    found = find_first_divergence(ir.from_onnx_text(reference), ir.from_onnx_text(candidate), x)
    assert (found.value, found.agreeing) == ("y", ("b",))


def test_a_difference_inside_a_branch_is_blamed_on_the_node_that_holds_it():
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[4] x, bool flag) => (float[4] y) <float two = {2}, float three = {THREE}> {
     a = Mul(x, two)
     b = If(flag) <then_branch = t () => (float[4] p) { p = Mul(a, three) },
                   else_branch = e () => (float[4] q) { q = Neg(a) }>
     y = Relu(b)
    }"""
    reference, candidate = (ir.from_onnx_text(text.replace("THREE", value)) for value in ("3", "4"))
    found = find_first_divergence(reference, candidate, X | {"flag": np.array(True)})
    assert (found.value, found.agreeing, found.initializers) == ("b", ("a",), ("three",))
    assert find_first_divergence(reference, candidate, X | {"flag": np.array(False)}) is None


def test_looking_that_changes_the_graph_is_said():
    # onnxruntime folds a zero Pad into MaxPool; as soon as the padded value is an output, it does not.
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[1,1,4,4] x) => (float[1,1,3,3] y) <int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}, float zero = {0}> {
     padded = Pad <mode = "constant"> (x, pads, zero)
     y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (padded)
    }"""
    model = ir.from_onnx_text(text)
    x = {"x": np.random.default_rng(0).normal(-2, 1, (1, 1, 4, 4)).astype(np.float32)}
    found = find_first_divergence(model, model, x, how=AT_DEFAULT_LEVEL)
    if found is None:
        pytest.skip("this onnxruntime has repaired the fold")
    assert found.looking_changed > 0.1
    assert "looking at values inside changed the graph's own outputs" in "\n".join(found.describe())


def test_a_reference_that_gives_nan_explains_nothing():
    with pytest.raises(UnusableReferenceError, match="gives NaN by itself"):
        find_first_divergence(chain(), chain(3), {"x": np.full(4, math.nan, np.float32)})


def test_outputs_that_cannot_be_matched_are_named():
    other = chain()
    other.graph.outputs[0].name = "z"
    with pytest.raises(UnusableReferenceError, match="output 'y' is missing"):
        find_first_divergence(chain(), other, X)


# -- against torch --------------------------------------------------------------------------------------------------


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.LayerNorm(8)
        self.inner = torch.nn.Linear(8, 16)
        self.outer = torch.nn.Linear(16, 8)

    def forward(self, x):
        return x + self.outer(torch.nn.functional.gelu(self.inner(self.norm(x))))


class Stack(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(Block() for _ in range(4))
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


CASE = ModelCase("stack", Stack, lambda seed: {"x": torch.randn(2, 5, 8)}, output_names=["logits"])


@pytest.fixture(scope="module", params=["torchscript", "dynamo"])
def artifact(request):
    module = build_module(CASE)
    return request.param, module, export(CASE, module=module, exporter=request.param).model


def test_a_faithful_export_does_not_diverge_from_its_module(artifact):
    _, module, model = artifact
    assert find_first_divergence(module, model, module_inputs(CASE, module, 0), case=CASE) is None


@pytest.mark.parametrize("name", ["layers.0.norm", "layers.2.inner", "layers.3.outer", "head"])
def test_one_changed_weight_of_the_module_is_found_in_its_module(artifact, name):
    exporter, _, model = artifact
    module = build_module(CASE)
    with torch.no_grad():
        module.get_submodule(name).weight.view(-1)[3] += 0.05
    found = find_first_divergence(module, model, module_inputs(CASE, module, 0), case=CASE)
    assert any(f"in {name}" in place for place in found.nodes), found
    if exporter == "dynamo":
        assert any(".py:" in place for place in found.nodes), "dynamo gives source lines"


def test_a_module_without_its_case_is_refused():
    with pytest.raises(Exception, match="needs its model case"):
        find_first_divergence(Stack(), chain(), {"x": torch.ones(1)})
