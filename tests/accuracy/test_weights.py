"""`compare_weights`: what an exporter or a pass may do to a weight, and what it may not."""

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.accuracy import compare_weights
from pytest_modelcheck.calling import build_module
from pytest_modelcheck.export import export

rng = np.random.default_rng(0)
W = rng.standard_normal((8, 24)).astype(np.float32)
KERNEL = rng.standard_normal((8, 4, 3, 3)).astype(np.float32)


def off(array, place, factor=1.001):
    changed = array.copy()
    changed[place] *= np.float32(factor)
    return changed


def per_channel(array, axis):
    shape = [1] * array.ndim
    shape[axis] = array.shape[axis]
    return array * rng.uniform(0.5, 2, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("weight", "initializer"),
    [
        (W, W),
        (W, W.T.copy()),
        (W, per_channel(W, 0)),
        (W, per_channel(W.T, 1)),
        (KERNEL, per_channel(KERNEL, 0)),
        (KERNEL, per_channel(KERNEL, 1)),
        (np.array([1.0, np.nan], np.float32), np.array([1.0, np.nan], np.float32)),
        (W.astype(ml_dtypes.bfloat16), W.astype(ml_dtypes.bfloat16)),
    ],
)
@pytest.mark.parametrize("name", ["w", "onnx::MatMul_7"])
def test_a_weight_that_was_transposed_or_scaled_per_channel_is_the_same_weight(weight, initializer, name):
    report = compare_weights({"w": weight}, {name: initializer})
    assert report.changed == ()
    assert report.compared == (("w",) if name == "w" or weight.size >= 16 else ())


@pytest.mark.parametrize(
    ("initializer", "relation", "place"),
    [
        (off(W, (3, 5)), "", (3, 5)),
        (off(W.T, (5, 3)), "transposed", (5, 3)),
        (off(per_channel(W, 0), (3, 5)), "scaled per channel", (3, 5)),
    ],
)
@pytest.mark.parametrize("name", ["w", "onnx::MatMul_7"])
def test_one_element_off_by_a_thousandth_is_found_and_placed(initializer, relation, place, name):
    report = compare_weights({"w": W}, {name: initializer})
    (changed,) = report.changed
    assert (changed.name, changed.initializer, changed.relation) == ("w", name, relation)
    assert (changed.changed, changed.size, changed.index) == (1, 192, place)
    assert changed.found == pytest.approx(changed.expected * 1.001, rel=1e-5)


def test_a_folded_kernel_with_one_element_off_is_found():
    report = compare_weights({"conv.weight": KERNEL}, {"onnx::Conv_1": off(per_channel(KERNEL, 0), (2, 1, 0, 2))})
    assert [changed.index for changed in report.changed] == [(2, 1, 0, 2)]


@pytest.mark.parametrize(("factor", "places"), [(1.0, []), (1 + 5e-6, []), (1 + 2e-5, [(3, 0, 0, 0)])])
def test_a_kernel_of_one_element_per_channel_is_folded_up_to_rounding(factor, places):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(48, 48, 1, groups=48, bias=False), torch.nn.BatchNorm2d(48)).eval()
    torch.nn.init.normal_(net[1].weight)
    net[1].running_var.uniform_(0.5, 2)
    factors = net[1].weight.detach() / (net[1].running_var + net[1].eps).sqrt()
    folded = np.nextafter((net[0].weight.detach() * factors.reshape(-1, 1, 1, 1)).numpy(), np.float32(np.inf))
    report = compare_weights(net, {"0.weight": off(folded, (3, 0, 0, 0), factor)})
    assert "0.weight" in report.compared
    assert [changed.index for changed in report.changed] == places


def test_the_finding_names_weight_initializer_place_and_both_values():
    changed = W.copy()
    changed[1, 2] = 7
    finding = compare_weights({"layer.weight": W}, {"val_3": changed.T.copy()}).finding("net", "exported against torch")
    assert finding.render() == (
        "expect_accuracy: weights expected the 1 weights that both sides have, equal, found 1 changed in net "
        "(exported against torch)\n"
        f"  where: weight layer.weight (initializer 'val_3', transposed): 1 of 192 elements differ, "
        f"7 instead of {W[1, 2]:.9g} at [2, 1]"
    )


def test_equal_weights_give_no_finding():
    assert compare_weights({"w": W}, {"w": W}).finding("net", "") is None


@pytest.mark.parametrize("edit", [lambda w: w.astype(np.float16).astype(np.float32), lambda w: w * np.float32(1.001)])
@pytest.mark.parametrize("name", ["w", "onnx::MatMul_7"])
def test_a_weight_that_is_a_little_off_everywhere_is_found(edit, name):
    (changed,) = compare_weights({"w": W}, {name: edit(W.T).copy()}).changed
    assert changed.changed > 180


@pytest.mark.parametrize("factor", [0.125, 3.0])
def test_one_factor_for_a_whole_weight_is_a_fold_unless_it_is_nearly_one(factor):
    assert compare_weights({"w": W}, {"w": W * np.float32(factor)}).changed == ()


def test_gains_that_are_all_nearly_one_are_not_taken_for_each_other():
    first, second = (1 + 0.005 * rng.standard_normal(64).astype(np.float32) for _ in range(2))
    assert compare_weights({"norm.weight": first}, {"other": second}).changed == ()


def test_another_tensor_of_the_same_shape_is_no_changed_weight():
    report = compare_weights({"w": W}, {"other": rng.standard_normal(W.shape).astype(np.float32)})
    assert (report.compared, report.unexplained, report.changed) == ((), ("w",), ())


def test_a_weight_of_the_same_name_with_every_element_new_is_not_compared_but_left_to_the_outputs():
    report = compare_weights({"w": W}, {"w": W + 1})
    assert (report.unexplained, report.changed) == (("w",), ())


@pytest.mark.parametrize(
    ("differing", "named", "changed"), [(96, True, 1), (97, True, 0), (1, False, 1), (2, False, 0)]
)
def test_how_many_elements_may_differ_in_the_same_weight(differing, named, changed):
    other = W.reshape(-1).copy()
    other[-differing:] += 1
    report = compare_weights({"w": W}, {"w" if named else "x": other.reshape(W.shape)})
    assert len(report.changed) == changed


@pytest.mark.parametrize(("size", "found"), [(15, False), (16, True)])
def test_a_small_tensor_is_recognised_by_its_name_only(size, found):
    weight = rng.standard_normal(size).astype(np.float32)
    assert bool(compare_weights({"w": weight}, {"other": weight}).compared) is found
    assert compare_weights({"w": weight}, {"w": weight}).compared == ("w",)


def test_two_graphs_that_share_a_tensor_are_equal_without_reading_it():
    model = ir.from_onnx_text(
        """<ir_version: 8, opset_import: ["" : 18]>
        g (float[4] x) => (float[4] y) <float[4] w = {1, 2, 3, 4}> { y = Mul(x, w) }"""
    )
    value = model.graph.initializers["w"]
    value.const_value = ir.ExternalTensor("gone", 0, 16, ir.DataType.FLOAT, shape=ir.Shape((4,)), name="w")
    assert compare_weights(model, model.clone()).compared == ("w",)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3)
        self.norm = torch.nn.BatchNorm2d(8)
        self.head = torch.nn.Linear(8, 5)
        self.pruned = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(5, 5))
        torch.nn.init.normal_(self.norm.weight)

    def forward(self, x):
        return self.pruned(self.head(self.norm(self.conv(x)).mean((2, 3)).unsqueeze(1)))


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_both_exporters_keep_the_weights_and_a_change_of_any_of_them_is_found(exporter):
    case = ModelCase("net", Net, lambda seed: (torch.randn(2, 3, 8, 8),), exporter=exporter)
    module = build_module(case)
    graph = export(case, module=module).model
    report = compare_weights(module, graph)
    assert report.changed == ()
    assert {"conv.weight", "head.weight", "head.bias"} <= set(report.compared)
    for name in ("conv.weight", "head.weight"):
        parameter = module.get_parameter(name)
        place = (4,) + (1,) * (parameter.ndim - 1)
        with torch.no_grad():
            kept = parameter[place].clone()
            parameter[place] = kept * 1.001
            (changed,) = compare_weights(module, graph).changed
            parameter[place] = kept
        assert changed.name == name
        assert changed.changed == 1
    with torch.no_grad():
        module.conv.weight *= 1.0005
    (changed,) = compare_weights(module, graph).changed
    assert (changed.name, changed.relation, changed.changed) == ("conv.weight", "scaled per channel", 8 * 3 * 9)


SCALED = """<ir_version: 10, opset_import: ["": 18]>
g (float[1,4,8,8] x, float[8,4,3,3] kernel) => (float[1,8,6,6] y)
<float[2] parts = {1.02, 0.98}, int64 first = {0}>
{
  convolved = Conv(x, kernel)
  positive = Relu(parts)
  factor = Gather(positive, first)
  y = Mul(convolved, factor)
}"""


@pytest.mark.parametrize(("beyond", "changed"), [(1.0, 0), (1.001, 1), (1 / 1.02, 0)])
def test_a_weight_multiplied_by_what_the_graph_computes_behind_it_is_the_same_and_by_more_it_is_not(beyond, changed):
    graph = ir.from_onnx_text(SCALED)
    graph.graph.inputs[1].const_value = ir.tensor(KERNEL, name="kernel")
    graph.graph.register_initializer(graph.graph.inputs.pop())
    folded = {"kernel_folded": (KERNEL * np.float64(np.float32(1.02)) * beyond).astype(np.float32)}
    assert len(compare_weights(graph, folded).changed) == changed
