"""expect_memory: bytes and operations, counted exactly, and how they grow."""

import sys

import numpy as np
import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.latency import peak_growth
from pytest_modelcheck.runtimes.freed_memory import return_freed_memory
from tests.gate_checks import TEN_NODES, ask, check_of_graph, check_of_module, said
from tests.generation_models import WithCacheObject, inputs_with_cache

FLOAT = 4


class Scores(torch.nn.Module):
    """Every position against every other one: quadratic in the length."""

    def forward(self, x):
        return torch.softmax(x @ x.transpose(-1, -2), -1) @ x


def case_of(build, dynamic_axes=None, exporter="torchscript"):
    return ModelCheck(
        ModelCase("net", build, lambda seed: {"x": torch.randn(1, 8, 4)}, exporter=exporter, dynamic_axes=dynamic_axes)
    )


@pytest.fixture
def scores():
    return case_of(Scores, {"x": {1: "sequence"}})


def test_a_quadratic_forward_is_named_so_exactly(scores):
    result = ask(scores, "expect_memory", axis="sequence", exponent="<=2.1")
    assert result.verdict is Verdict.PASS
    assert result.measured == "total 16*n + 8*n^2 bytes, exactly (n: sequence), exponent 1.99"


def test_an_exponent_that_is_too_large_fails_with_the_bytes_of_each_size(scores):
    result = ask(scores, "expect_memory", axis="sequence", sizes=(8, 16, 32), exponent="<=1.1")
    assert said(result) == (
        "expect_memory: exponent expected <=1.1, found 1.92 in net (torch forward)\n"
        "  where: total 16*n + 8*n^2 bytes, exactly, n being sequence from 8 to 32\n"
        "         sequence 8: total 640 bytes, peak 512 bytes\n"
        "         sequence 16: total 2,304 bytes, peak 2,048 bytes\n"
        "         sequence 32: total 8,704 bytes, peak 8,192 bytes\n"
        "  next:  A quadratic part is a tensor over pairs of positions, such as attention scores that are written out."
    )


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ({"quadratic": 8, "linear": 16, "constant": 0}, Verdict.PASS),
        ({"quadratic": "<=7"}, Verdict.FAIL),
        ({"linear": "<16"}, Verdict.FAIL),
        ({"constant": ">0"}, Verdict.FAIL),
    ],
)
def test_each_coefficient_has_its_bound(scores, bounds, verdict):
    assert ask(scores, "expect_memory", axis="sequence", **bounds).verdict is verdict


def test_a_coefficient_of_what_is_no_parabola_fails_and_says_so():
    class Cube(torch.nn.Module):
        def forward(self, x):
            y = x[0, :, 0]
            return y[:, None, None] * y[:, None] * y

    result = ask(case_of(Cube, {"x": {1: "sequence"}}), "expect_memory", axis="sequence", linear="<=1000")
    assert "linear expected <=1000, found no parabola: the total is off by up to" in said(result)


def test_the_past_of_a_cache_object_grows_linearly_and_is_bounded():
    pytest.importorskip("transformers")
    axes = {"input_ids": {1: "sequence"}, "past_key_values": {2: "past"}}
    check = ModelCheck(ModelCase("decoder", WithCacheObject, inputs_with_cache, dynamic_axes=axes))
    grows = {"axis": "past", "sizes": (8, 16, 32), "quadratic": 0}
    assert ask(check, "expect_memory", **grows, linear="<=1000").verdict is Verdict.PASS
    assert "linear expected <=100, found " in said(ask(check, "expect_memory", **grows, linear="<=100"))


def test_an_axis_is_a_place_where_the_case_has_no_name_for_it():
    result = ask(case_of(Scores), "expect_memory", axis="x:1", exponent="1.9..2.0")
    assert result.verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ("sequenze", "axis 'sequenze' is unknown: its dynamic axes are sequence; a place is written \"input_ids:1\""),
        ("x:3", "axis 'x:3': there is no axis 3 of 'x' to resize; inputs: x [1, 8, 4]"),
        ("y:1", "axis 'y:1': there is no axis 1 of 'y' to resize; inputs: x [1, 8, 4]"),
    ],
)
def test_an_axis_that_is_not_there_is_an_error_that_names_those_that_are(scores, axis, message):
    result = ask(scores, "expect_memory", axis=axis, exponent=1)
    assert result.verdict is Verdict.ERROR
    assert message in said(result)


def test_a_forward_that_cannot_run_at_a_size_is_an_error_that_names_the_size():
    class Fixed(torch.nn.Module):
        def forward(self, x):
            return x.reshape(8, 4)

    result = ask(case_of(Fixed), "expect_memory", axis="x:1", exponent=1)
    assert result.verdict is Verdict.ERROR
    assert "at x:1 32: the forward raised RuntimeError" in said(result)


# -- figures --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linear():
    return check_of_module(lambda: torch.nn.Linear(64, 128), 2, 64)


WEIGHTS = (64 * 128 + 128) * FLOAT


@pytest.mark.parametrize(
    ("name", "exact"),
    [("peak", 2 * 128 * FLOAT), ("total", 2 * 128 * FLOAT), ("flops", 2 * 2 * 64 * 128), ("initializers", WEIGHTS)],
)
def test_counted_figures_are_exact_and_one_less_fails(linear, name, exact):
    assert ask(linear, "expect_memory", **{name: exact}).verdict is Verdict.PASS
    result = ask(linear, "expect_memory", **{name: f"<={exact - 1}"})
    unit = "operations" if name == "flops" else "bytes"
    assert f"expect_memory: {name} expected <={exact - 1}, found {exact:,} {unit} in net" in said(result)


def test_a_finding_about_weights_names_the_largest_ones(linear):
    assert f"{64 * 128 * FLOAT:,} bytes" in ask(linear, "expect_memory", initializers="<=1").findings[0].where[0]


def test_the_file_holds_the_weights_and_little_more(linear):
    size = linear.exported.path.stat().st_size
    assert ask(linear, "expect_memory", file=size).verdict is Verdict.PASS
    assert ask(linear, "expect_memory", file=f"<{size}").verdict is Verdict.FAIL
    assert WEIGHTS < size < WEIGHTS + 4096


def test_weights_beside_the_file_belong_to_it(tmp_path):
    import onnx_ir as ir

    model = check_of_module(lambda: torch.nn.Linear(64, 128), 2, 64).graphs.exported_model
    ir.save(model, tmp_path / "m.onnx", external_data="m.data")
    check = ModelCheck(ModelCase.from_onnx(tmp_path / "m.onnx"))
    assert ask(check, "expect_memory", file=f">={WEIGHTS}").verdict is Verdict.PASS


def test_sizes_are_read_with_their_unit(linear):
    assert ask(linear, "expect_memory", initializers="32.5KiB").verdict is Verdict.PASS
    result = ask(linear, "expect_memory", initializers="<=1.5 kB")
    assert "initializers expected <=1.5 kB, found 33,280 bytes" in said(result)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from Linux's proc")
def test_a_session_needs_at_least_what_its_largest_tensor_takes(tmp_path):
    graph = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[2000,2000] x) => (float y) { a = Exp(x) b = Sin(a) y = ReduceMax <keepdims=0> (b) }"""
    check = check_of_graph(graph, tmp_path)
    result = ask(check, "expect_memory", session="<=1MiB")
    assert result.verdict is Verdict.FAIL
    found = int(result.findings[0].found.split()[0].replace(",", ""))
    assert 2000 * 2000 * FLOAT < found < 12 * 2000 * 2000 * FLOAT
    assert ask(check, "expect_memory", session="<=1GiB").verdict is Verdict.PASS


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from Linux's proc")
def test_memory_that_somebody_else_frees_meanwhile_does_not_hide_the_peak():
    held = [np.ones(5_000_000)]  # 40 MB

    def run():
        held.clear()
        return_freed_memory()
        return np.ones(4_000_000).sum()  # 32 MB

    assert 30_000_000 < peak_growth(run) < 48_000_000


def test_a_bare_onnx_file_has_weights_but_no_forward(tmp_path):
    check = check_of_graph(TEN_NODES, tmp_path)
    assert ask(check, "expect_memory", initializers=0).verdict is Verdict.PASS
    result = ask(check, "expect_memory", peak="<=1GiB")
    assert result.verdict is Verdict.ERROR
    assert "has no torch module; initializers, file and session can be asked of it" in said(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", 'expects nothing; write e.g. axis="sequence", exponent="<=2.1", or peak="<=64MiB"'),
        ("exponent=2", 'exponent needs the axis that grows, e.g. axis="sequence"'),
        ("axis='n', peak=2", "axis='n' needs a bound on the growth, e.g. exponent=\"<=2.1\""),
        ("axis='n', exponent='<=2%'", "exponent='<=2%': write a plain number, e.g. exponent='<=2.1'"),
        ("axis='n', sizes=(1, 2), exponent=1", "sizes=(1, 2): write three or more different positive numbers"),
        ("axis='n', sizes=(0, 1, 2), exponent=1", "sizes=(0, 1, 2): write three or more different positive numbers"),
        ("axis='n', sizes=5, exponent=1", "sizes=5: write three or more different positive numbers"),
        ("peak='<=3XiB'", "peak: bound '<=3XiB' cannot be read"),
        ("peek=3", "got an unexpected keyword argument 'peek'; did you mean 'peak'?"),
    ],
)
def test_bad_arguments_are_usage_errors(project, arguments, message):
    run = project.gated(f"expect_memory({arguments})").run()
    run.bad_marker("test_it.py::test_net: expect_memory: ").has(message)


def test_in_a_run_a_limit_that_is_exceeded_fails_the_test(project):
    project.gated("expect_memory(peak='<=10')").run().outcomes(failed=1).has(
        "expect_memory: peak expected <=10, found 64 bytes in net (torch forward)"
    )
