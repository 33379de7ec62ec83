"""Outputs and inputs of every odd kind, through the whole accuracy check: right, or one clear finding."""

import dataclasses
import os

import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.accuracy import Tolerance, compare, session_stage, sweep, torch_stage
from pytest_modelcheck.accuracy.magnitude import magnitudes
from pytest_modelcheck.accuracy.metrics import measure
from pytest_modelcheck.calling import build_module, module_inputs


@dataclasses.dataclass
class Fields:
    logits: torch.Tensor
    hidden: torch.Tensor | None = None


class Returns(torch.nn.Module):
    """Twice and three times its input, in the form that `make` gives them."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x, bias=None):
        return self.make(2 * x, 3 * x if bias is None else 3 * x + bias)


GRAPH = """<ir_version: 8, opset_import: ["" : 18]>
g (float[2,3] x) => (float[2,3] {0}, float[2,3] {1}) <float two = {{2}}, float three = {{3}}> {{
 {0} = Mul(x, two)
 {1} = Mul(x, three)
}}"""


def cache(a, b):
    from transformers import DynamicCache

    made = DynamicCache()
    made.update(a[None, None], b[None, None], 0)
    return {"past": made}


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda a, b: {"a": a, "b": b}, ("a", "b")),
        (lambda a, b: Fields(a, b), ("logits", "hidden")),
        (lambda a, b: ((a,), (None, b)), ("output_0.0", "output_1.1")),
        (lambda a, b: (a, None, b), ("output_0", "output_2")),
        (lambda a, b: [a, b], ("output_0", "output_1")),
    ],
    ids=["dict", "dataclass", "tuple of tuples", "None between", "list"],
)
def test_outputs_of_every_form_are_compared_by_name(make, names):
    case = ModelCase("odd", lambda: Returns(make), lambda seed: {"x": torch.randn(2, 3)})
    module = build_module(case)
    assert tuple(torch_stage(case, module).name for _ in range(1)) == ("torch",)
    graph = ir.from_onnx_text(GRAPH.format("left", "right"))
    for output, name in zip(graph.graph.outputs, names, strict=True):
        output.name = name
    stages = [torch_stage(case, module), session_stage("exported", graph, against="torch")]
    report = sweep(stages, lambda seed: module_inputs(case, module, seed), seeds=range(3))
    assert report.findings == ()
    assert tuple(output.name for output in report.pairs[0].worst.outputs) == names


@pytest.mark.parametrize(("factor", "passes"), [(3, True), (3.001, False)])
def test_a_cache_of_keys_and_values_is_compared_layer_by_layer(factor, passes):
    case = ModelCase("cache", lambda: Returns(cache), lambda seed: {"x": torch.randn(2, 3)})
    module = build_module(case)
    graph = ir.from_onnx_text(f"""<ir_version: 8, opset_import: ["" : 18]>
    g (float[2,3] x) => (float[1,1,2,3] key, float[1,1,2,3] value)
    <float two = {{2}}, float three = {{{factor}}}, int64[2] axes = {{0, 1}}> {{
     wide = Unsqueeze(x, axes)
     key = Mul(wide, two)
     value = Mul(wide, three)
    }}""")
    for output, name in zip(graph.graph.outputs, ("past.0.key", "past.0.value"), strict=True):
        output.name = name
    stages = [torch_stage(case, module), session_stage("exported", graph, against="torch")]
    (pair,) = sweep(stages, lambda seed: module_inputs(case, module, seed), seeds=range(3)).pairs
    assert [output.name for output in pair.worst.outputs] == ["past.0.key", "past.0.value"]
    assert pair.passed is passes
    assert passes or "output 'past.0.value'" in pair.finding.subject


def drawn(seed):
    return {"x": np.random.default_rng(seed).standard_normal((2, 3)).astype(np.float32)}


def of_graph(graph, inputs=drawn, candidate=None):
    """A graph against itself, or another one, run by onnxruntime."""
    stages = [session_stage("exported", graph), session_stage("optimized", candidate or graph, against="exported")]
    return sweep(stages, inputs, seeds=range(3))


ODD_GRAPHS = {
    "strings": "(string[2,3] y) <float two = {TWO}> { a = Mul(x, two) y = Cast <to = 8> (a) }",
    "a sequence": "(seq(float[1,3]) y) <float two = {TWO}> { a = Mul(x, two) y = SplitToSequence <axis = 0> (a) }",
    "no axes": "(float y) <float two = {TWO}> { a = ReduceSum <keepdims = 0> (x) y = Mul(a, two) }",
    "an empty one beside another": "(float[N,3] none, float[2,3] y) <float two = {TWO}, int64[1] zero = {0}> "
    "{ none = Slice(x, zero, zero) y = Mul(x, two) }",
}


@pytest.mark.parametrize("kind", ODD_GRAPHS)
def test_outputs_of_every_kind_of_a_graph_pass_where_they_agree_and_fail_where_they_do_not(kind):
    text = f'<ir_version: 8, opset_import: ["" : 18]> g (float[2,3] x) => {ODD_GRAPHS[kind]}'
    graph, other = (ir.from_onnx_text(text.replace("TWO", number)) for number in ("2", "2.5"))
    assert of_graph(graph).findings == ()
    (finding,) = of_graph(graph, candidate=other).findings
    assert finding.verdict is Verdict.FAIL
    assert "output 'y" in finding.subject


def test_a_graph_whose_only_output_is_empty_is_one_error():
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[2,3] x) => (float[N,3] none) <int64[1] zero = {0}> { none = Slice(x, zero, zero) }"""
    (finding,) = of_graph(ir.from_onnx_text(text)).findings
    assert finding.verdict is Verdict.ERROR


def test_an_optional_input_that_is_none_is_not_fed():
    case = ModelCase(
        "optional", lambda: Returns(lambda a, b: (a, b)), lambda seed: {"x": torch.randn(2, 3), "bias": None}
    )
    module = build_module(case)
    graph = ir.from_onnx_text(GRAPH.format("output_0", "output_1"))
    stages = [torch_stage(case, module), session_stage("exported", graph, against="torch")]
    assert sweep(stages, lambda seed: module_inputs(case, module, seed), seeds=range(3)).findings == ()


DEFAULT = """<ir_version: 8, opset_import: ["" : 18]>
g (float[2,3] x, float[3] bias) => (float[2,3] y) <float[3] bias = {1, 2, 3}> { y = Add(x, bias) }"""


class Biased(torch.nn.Module):
    def forward(self, x, bias=None):
        return {"y": x + (torch.tensor([1.0, 2.0, 3.0]) if bias is None else bias)}


@pytest.mark.parametrize("bias", [None, torch.tensor([4.0, 5.0, 6.0])], ids=["left out", "given"])
def test_an_input_with_a_default_in_the_graph_may_be_left_out_and_is_fed_where_it_is_given(bias):
    case = ModelCase("default", Biased, lambda seed: {"x": torch.randn(2, 3), "bias": bias})
    module = build_module(case)
    stages = [torch_stage(case, module), session_stage("exported", ir.from_onnx_text(DEFAULT), against="torch")]
    assert sweep(stages, lambda seed: module_inputs(case, module, seed), seeds=range(3)).findings == ()


def test_an_input_of_an_optional_type_is_a_clear_error():
    graph = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 18]>
    g (float[2,3] x, optional(float[3]) bias) => (float[2,3] y) {
     has = OptionalHasElement(bias)
     y = If(has) <then_branch = t () => (float[2,3] p) { b = OptionalGetElement(bias) p = Add(x, b) },
                  else_branch = e () => (float[2,3] q) { q = Neg(x) }>
    }""")
    given = drawn(0) | {"bias": np.ones(3, np.float32)}
    for inputs, said in ((drawn(0), "nothing to feed to 'bias'"), (given, "has type optional(tensor(float)), which")):
        finding = of_graph(graph, lambda seed, inputs=inputs: inputs).findings[0]
        assert finding.verdict is Verdict.ERROR
        assert said in finding.found


def test_a_wrong_input_name_is_one_error_with_both_lists():
    graph = ir.from_onnx_text(GRAPH.format("a", "b"))
    stages = [session_stage("exported", graph), session_stage("optimized", graph, against="exported")]
    report = sweep(stages, lambda seed: {"y": np.ones((2, 3), np.float32)}, seeds=range(2))
    assert report.findings[0].verdict is Verdict.ERROR
    assert "nothing to feed to 'x'; inputs that it does not name: 'y'" in report.findings[0].found


def test_an_output_that_no_onnx_output_can_carry_is_one_error():
    case = ModelCase("text", lambda: Returns(lambda a, b: (a, "done")), lambda seed: {"x": torch.randn(2, 3)})
    module = build_module(case)
    stages = [
        torch_stage(case, module),
        session_stage("exported", ir.from_onnx_text(GRAPH.format("a", "b")), against="torch"),
    ]
    report = sweep(stages, lambda seed: module_inputs(case, module, seed), seeds=range(2))
    assert "is a str, which no ONNX output can carry" in report.findings[0].found


def test_a_sequence_and_strings_are_compared_item_by_item():
    left = {"parts.0": np.array(["a", "b"], object), "parts.1": np.array([1.0, 2.0], np.float32)}
    assert compare(left, left).passed
    right = left | {"parts.0": np.array(["a", "c"], object)}
    assert "'c' instead of 'b' at [1]" in compare(left, right).finding.where[0]


@pytest.mark.parametrize("value", [0.5, 0])
def test_an_output_without_axes_is_compared(value):
    scalar = np.array(value, np.float32 if value else np.int64)
    assert compare({"loss": scalar}, {"loss": scalar}).passed
    assert not compare({"loss": scalar}, {"loss": scalar + 1}).passed


def test_empty_outputs_beside_others_are_fine_and_alone_an_error():
    empty = {"boxes": np.zeros((0, 4), np.float32)}
    assert compare(empty, empty).finding.verdict is Verdict.ERROR
    both = empty | {"scores": np.array([1.0, 2.0], np.float32)}
    assert compare(both, both).passed


@pytest.mark.parametrize("size", [1 << 24, 1 << 29], ids=["64 MB", "2 GB"])
def test_a_large_output_is_measured_in_pieces(tmp_path, size):
    """What is held at once does not depend on the size of the output."""
    import tracemalloc

    if size > 1 << 24 and os.environ.get("MODELCHECK_FAULTS") != "full":
        pytest.skip("2 GB are compared with MODELCHECK_FAULTS=full")
    array = np.memmap(tmp_path / "large.bin", np.float32, "w+", shape=(size,))
    other = np.memmap(tmp_path / "other.bin", np.float32, "w+", shape=(size,))
    array[:: size >> 14] = other[:: size >> 14] = 1.0  # the files have holes: they take no space
    other[-1] += 1
    tracemalloc.start()
    tolerance = Tolerance(1e-5, 1e-5)
    metrics = measure(array, other, tolerance, magnitudes(array, tolerance))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (metrics.max_abs, metrics.worst_index) == (1.0, (size - 1,))
    assert peak < 600e6


def test_what_is_kept_for_the_percentiles_does_not_keep_the_pieces(monkeypatch):
    import tracemalloc

    from pytest_modelcheck.accuracy import metrics

    monkeypatch.setattr(metrics, "CHUNK", 1 << 14)
    array = np.random.default_rng(0).standard_normal(1 << 21).astype(np.float32)
    tracemalloc.start()
    metrics.measure(array, array + 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.6 * array.nbytes  # `array + 1` is one of them; every difference in float64 would be two more
