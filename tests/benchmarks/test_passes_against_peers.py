"""The comparison with other optimizers: a wrong result is seen, and counts for nobody."""

import numpy as np
import onnx
import pytest

from benchmarks.peers import table
from benchmarks.peers.growing import chain
from benchmarks.peers.worker import BAR, OURS, differences, optimize, scaled_difference

TEXT = """<ir_version: 8, opset_import: ["" : 18]>
g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> {
    a = Identity(x)
    y = Mul(a, w)
}"""


def saved(path, text=TEXT):
    onnx.save(onnx.parser.parse_model(text), path)
    return str(path)


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        ([1.0, 200.0], 0.0),
        ([1.0, 200.002], 1e-5),
        ([1.1, 200.0], 5e-4),
    ],
)
def test_a_difference_is_a_share_of_the_largest_value(got, expected):
    found = scaled_difference("y", np.array([1.0, 200.0]), np.array(got))
    assert found == pytest.approx(expected, rel=1e-6)


def test_below_one_a_difference_is_absolute():
    assert scaled_difference("y", np.array([0.01]), np.array([0.02])) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("want", "got", "message"),
    [
        ([1.0, np.nan], [1.0, 2.0], "output 'y' has NaN on one side only"),
        ([1.0, 2.0], [1.0, np.nan], "output 'y' has NaN on one side only"),
        ([1.0, np.inf], [1.0, -np.inf], "output 'y' has infinities on one side only"),
        ([1.0, 2.0], [[1.0, 2.0]], r"output 'y' is float64\[1, 2\], not float64\[2\]"),
    ],
)
def test_what_is_no_difference_is_an_error(want, got, message):
    with pytest.raises(ValueError, match=message):
        scaled_difference("y", np.array(want), np.array(got))


@pytest.mark.parametrize(
    ("text", "right", "why"),
    [
        (TEXT, True, None),
        (TEXT.replace("{1, 2}", "{1, 2.1}"), False, None),
        (TEXT.replace("Identity", "Identiti"), False, "SessionError"),
        (TEXT.replace(" y", " z"), False, "outputs ['z'], not ['y']"),
        (TEXT.replace("float[2]", "float[3]").replace("{1, 2}", "{1, 2, 3}"), False, "FeedError"),
        (
            TEXT.replace("Mul(a, w)", "Div(a, n)").replace("{1, 2}>", "{1, 2}, float[2] n = {0, 0}>"),
            False,
            "infinities",
        ),
    ],
)
def test_a_file_that_computes_something_else_is_not_right(tmp_path, text, right, why):
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx.parser.parse_model(text).SerializeToString())
    result = differences(str(path), [{"x": np.array([1, 3], np.float32)}], [{"y": np.array([1, 6], np.float32)}])
    assert result["right"] is right
    assert (why or "") in result.get("why", "")
    assert result["scaled"] == (None if why else 0.0 if right else pytest.approx(0.05))


@pytest.mark.parametrize("name", [OURS, "onnxslim", "onnxoptimizer"])
def test_an_optimizer_is_measured_from_file_to_file(tmp_path, name):
    result = optimize(name, saved(tmp_path / "in.onnx"), str(tmp_path / "out.onnx"))
    assert (result["nodes"], result["constants"]) == (1, 0)
    assert result["seconds"] > 0
    assert result["cpu_seconds"] > 0
    assert result["peak"] >= 0
    assert ("passes" in result) == (name == OURS)
    assert result.get("passes", {}).get("eliminate_identity_ops", -1) == -1


def result_of(nodes, *, right=True, **more):
    return {"nodes": nodes, "right": right, "scaled": 0.0, "seconds": 2.0, "cpu_seconds": 1.5, "peak": 300, **more}


FILE = {
    "label": "bert-base-dynamo",
    "model": "bert-base",
    "exporter": "dynamo",
    "transformer": True,
    "exported": {"nodes": 100, "constants": 5},
    "weights": 100,
    "optimizers": {
        "onnxslim": result_of(80),
        "onnxsim": result_of(20, right=False, scaled=0.5),
        "onnxoptimizer": {"error": "not done after 600 s"},
        "onnxscript": result_of(100),
        OURS: result_of(60, scaled=2e-6, passes={"cleanup_attention": -6, "fuse_gelu": 0}),
    },
}


def test_a_peer_whose_result_is_wrong_is_not_the_best():
    assert table.best_right_peer(FILE) == ("onnxslim", 80)
    assert table.best_without_optimizing(FILE) == 80


def test_where_no_peer_is_right_or_better_the_exported_graph_is_the_best():
    alone = FILE | {"optimizers": {"onnxsim": result_of(20, right=False), OURS: result_of(60)}}
    assert table.best_right_peer(alone) is None
    assert table.best_without_optimizing(alone) == 100
    grown = FILE | {"optimizers": {"onnxslim": result_of(140), OURS: result_of(60)}}
    assert table.best_without_optimizing(grown) == 100


def test_the_page_shows_every_result_and_what_is_wrong_with_it():
    wrong = {name: {"error": "crashed"} for name in ("onnxsim", "onnxoptimizer", "onnxscript")}
    worse = FILE | {"model": "gpt2", "optimizers": {"onnxslim": result_of(50), **wrong, OURS: result_of(60)}}
    page = table.full([FILE, worse], {"vgg16-dynamo": "export of vgg16 failed\nbecause"}, {}, files=3)
    for line in (
        "| bert-base | dynamo | 100 | 5 | 80 | 20 **x** | failed | 100 | 80 | **60** | 0.75 | 2.0e-06 |",
        "| gpt2 | dynamo | 100 | 5 | 50 | failed | failed | failed | 50 | **60** | 1.20 | 0.0e+00 |",
        "| 2 transformers | 200 | 130 | 200 (2 without right result) | 200 (2 without right result) "
        "| 200 (1 without right result) | 130 | **120** | 0.923 | gpt2 dynamo |",
        "| bert-base | dynamo | 2.0, 1.5, 3.0 x | 2.0, 1.5, 3.0 x | failed | 2.0, 1.5, 3.0 x | 2.0, 1.5, 3.0 x |",
        "| bert-base | dynamo | 100 | -6 | 6.0 % |",
        "| `cleanup_attention` | 1 | bert-base dynamo -6 |",
        "| `fuse_conv_batchnorm` | 0 | none |",
        "Measured: 2 of 3 files.",
        "Processor seconds over the number of nodes: not measured.",
        "- bert-base, dynamo: onnxsim: differs by 5.0e-01",
        "- bert-base, dynamo: onnxoptimizer: not done after 600 s",
        "- vgg16-dynamo: export of vgg16 failed",
    ):
        assert line in page.splitlines()


def test_a_file_on_which_a_peer_was_not_run_says_so_and_is_in_no_sum():
    begun = FILE | {"model": "t5", "optimizers": {OURS: result_of(60)}}
    page = table.full([begun], {}, {}, files=1).splitlines()
    row = "| t5 | dynamo | 100 | 5 | not run | not run | not run | not run | - | **60** | - | 0.0e+00 |"
    assert row in page
    assert not [line for line in page if line.startswith("| 1 ")]


def test_the_chain_of_the_growth_is_valid_and_has_work_for_the_passes(tmp_path):
    model = chain(200)
    onnx.checker.check_model(model, full_check=True)
    assert 200 <= len(model.graph.node) < 220
    onnx.save(model, tmp_path / "chain.onnx")
    result = optimize(OURS, str(tmp_path / "chain.onnx"), str(tmp_path / "out.onnx"))
    assert 0 < result["nodes"] < 0.8 * len(model.graph.node)


def test_the_bar_is_that_of_the_readme():
    assert BAR == 1e-5
