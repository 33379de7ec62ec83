"""expect_interface: both sides of each boundary, the words of each finding, and markers that cannot be used."""

import onnx_ir as ir
import pytest

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates import MarkerError
from pytest_modelcheck.gates.interface import GATE, parse
from tests.gate_checks import ask, check_of_graph, said

GRAPH = """<ir_version: 8, opset_import: ["" : 17, "my.own" : 1]>
g (float[batch,3] image, int64[batch] ids) => (float[batch,3] scores, int64[N] kept) {
    a = Relu (image)
    scores = my.own.Scale (a)
    kept = Identity (ids)
}
"""


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    return check_of_graph(GRAPH, tmp_path_factory.mktemp("interface"))


@pytest.mark.parametrize(
    ("expected", "holds"),
    [
        ({"inputs": ("image", "ids")}, True),
        ({"inputs": ["image float32 [batch, 3]", "ids int64 [batch]"]}, True),
        ({"inputs": ("image float32 [*, *]", "ids [*]")}, True),
        ({"inputs": ("image float32 [2, 3]", "ids")}, False),
        ({"inputs": ("image [batch]", "ids")}, False),
        ({"inputs": ("image float16", "ids")}, False),
        ({"inputs": ("ids", "image")}, False),
        ({"inputs": ("image",)}, False),
        ({"inputs": ("image", "ids", "mask")}, False),
        ({"inputs": ()}, False),
        ({"outputs": ("scores [batch, 3]", "kept int64 [?]")}, True),
        ({"outputs": ("scores", "kept [batch]")}, False),
        ({"opset": 17}, True),
        ({"opset": "<=17"}, True),
        ({"opset": "<17"}, False),
        ({"opset": "16..18"}, True),
        ({"ir_version": "<=8"}, True),
        ({"ir_version": "<=7"}, False),
        ({"single_file": True}, True),
        ({"single_file": False}, False),
        ({"domains": ("", "my.own")}, True),
        ({"domains": ("ai.onnx", "my.own")}, True),
        ({"domains": ("",)}, False),
        ({"operators": ("Relu", "Identity", "my.own:Scale", "Conv")}, True),
        ({"operators": ("Relu", "Identity")}, False),
        ({"operators": ("Relu", "my.own:Scale"), "stage": "optimized"}, False),
        ({"operators": ()}, False),
    ],
    ids=str,
)
def test_what_is_expected_holds_or_not(check, expected, holds):
    result = ask(check, "expect_interface", **expected)
    assert result.verdict is (Verdict.PASS if holds else Verdict.FAIL), said(result)
    assert result.measured == "inputs 2, outputs 2, opset 17, IR version 8"


def test_each_difference_of_the_ports_is_a_line(check):
    assert said(ask(check, "expect_interface", inputs=("ids int64", "image float16 [batch, 3]", "mask"))) == (
        "expect_interface: inputs expected ids int64, image float16 [batch, 3], mask, found 3 differences in graph "
        "(exported, onnx)\n"
        "  where: input `image` is image float32 [batch, 3], expected image float16 [batch, 3]\n"
        "         input `mask` is missing; the graph has `image`, `ids`\n"
        "         the inputs are in the order `image`, `ids`\n"
        "  next:  Whoever feeds or reads the model by these names breaks."
    )
    assert "output `kept` is not expected (kept int64 [?])" in said(ask(check, "expect_interface", outputs=("scores",)))


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"opset": "<=16"}, (
            "expect_interface: opset expected <=16, found 17 in graph (exported, onnx)\n"
            "  next:  Export with ModelCase(opset=...), or deploy a newer runtime."
        )),
        ({"ir_version": 7}, (
            "expect_interface: ir_version expected 7, found 8 in graph (exported, onnx)\n"
            "  next:  Set model.ir_version before the file is shipped, or deploy a newer runtime."
        )),
        ({"domains": ("",)}, (
            "expect_interface: domains expected ai.onnx, found my.own in graph (exported, onnx)\n"
            "  next:  The deployed runtime lacks these operators: take the pass or option that makes them out."
        )),
        ({"operators": ("Relu",)}, (
            "expect_interface: operators expected 1 allowed, found 2 more in graph (exported, onnx)\n"
            "  where: Identity 1\n"
            "         my.own:Scale 1\n"
            "  next:  If the deployed runtime has these operators, name them in the marker."
        )),
    ],
)  # fmt: skip
def test_the_finding_says_what_to_do(check, expected, message):
    assert said(ask(check, "expect_interface", **expected)) == message


def test_weights_beside_the_model_are_no_single_file(tmp_path):
    values = ", ".join(["1"] * 300)  # tensors up to 1 kB are read into memory with the graph
    graph = f"g (float[300] x) => (float[300] y) <float[300] w = {{{values}}}> {{ y = Add (x, w) }}"
    model = ir.from_onnx_text(f'<ir_version: 8, opset_import: ["" : 17]>\n{graph}')
    ir.save(model, tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    check = ModelCheck(ModelCase.from_onnx(tmp_path / "m.onnx"))
    assert ask(check, "expect_interface", single_file=False).verdict is Verdict.PASS
    assert said(ask(check, "expect_interface", single_file=True)) == (
        "expect_interface: files expected one file, found weights in files beside it in m (exported, onnx)\n"
        "  next:  Weights above 100 MiB are written beside the model; export_options external_data= decides it."
    )


def test_a_graph_without_the_standard_domain_has_no_opset(tmp_path):
    text = '<ir_version: 8, opset_import: ["my.own" : 1]>\ng (float[2] x) => (float[2] y) { y = my.own.Scale (x) }'
    result = ask(check_of_graph(text, tmp_path), "expect_interface", opset="<=17")
    assert "opset expected <=17, found no opset of ai.onnx" in said(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expects nothing; write e.g. inputs=("),
        ({"inputs": "image"}, "inputs='image': write a tuple of names"),
        ({"inputs": (3,)}, "inputs=(3,): write a tuple of names"),
        ({"inputs": ("image float32 [2",)}, "inputs: 'image float32 [2' cannot be read; write e.g. \"image\""),
        ({"outputs": ("a [2,,3]",)}, "outputs: 'a [2,,3]' has an empty dimension"),
        ({"single_file": "yes"}, "single_file='yes': write True or False"),
        ({"domains": ""}, "domains='': write a tuple of names"),
        ({"operators": "Conv"}, "operators='Conv': write a tuple of names"),
        ({"opset": 17, "stage": "torch"}, "stage 'torch' is unknown; choose exported or optimized"),
    ],
)
def test_a_marker_that_cannot_be_used_is_refused(arguments, message):
    with pytest.raises(MarkerError) as error:
        parse(**arguments)
    assert message in str(error.value)


@pytest.mark.parametrize(("bound", "message"), [("<=17%", "opset='<=17%': a version is"), ("17/18", "a plain number")])
def test_a_version_is_a_plain_number(bound, message):
    with pytest.raises(BoundError, match=message):
        parse(opset=bound)


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        ("Convv", "ONNX has no operator 'Convv'; did you mean 'Conv'?"),
        ("com.microsof:FusedConv", "there is no domain 'com.microsof'; did you mean 'com.microsoft'?"),
    ],
)
def test_an_operator_that_cannot_exist_is_refused(operator, message):
    with pytest.raises(MarkerError) as error:
        GATE.expectation((), {"operators": (operator,)})
    assert message in str(error.value)


def test_the_plugin_refuses_a_misspelled_operator_before_any_export(project):
    project.gated('expect_interface(operators=("Convv",))').run().bad_marker(
        "test_it.py::test_net: expect_interface: ONNX has no operator 'Convv'; did you mean 'Conv'?"
    )
