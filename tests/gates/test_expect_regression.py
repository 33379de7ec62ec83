"""expect_latency(regression=...): today's graph over a locked one, in runs of pytest; only large differences decide."""

import pytest

from pytest_modelcheck.gates.latency_answers import SAME_GRAPH

MODEL = """
    import torch

    LAYERS = 20

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(torch.nn.Linear(128, 128) for _ in range(20))

        def forward(self, x):
            for _ in range(LAYERS // 20):
                for layer in self.layers:
                    x = torch.tanh(layer(x))
            return x

    def build():
        return Net()

    def inputs(seed):
        return (torch.randn(64, 128),)
"""
LOCK = "assert modelcheck.baseline == modelcheck_snapshot"
BOTH = "modelcheck, modelcheck_snapshot"
FILE = "test_it/test_net.baseline.txt"


@pytest.fixture
def locked(project):
    """A project whose graph of 20 layers is locked."""
    project.model(MODEL).gated("expect_latency(regression='<=100%')", body=LOCK, fixtures=BOTH)
    project.run("--snapshot-update").outcomes(passed=1)
    return project


def test_without_a_locked_graph_it_is_an_error_that_says_how_to_lock_one(project):
    project.gated("expect_latency(regression='<=100%')").run().outcomes(failed=1).has(
        """[error] expect_latency: regression expected <=100%, found no locked graph to compare with in net (optimized,
        """.strip(),
        """next:  Lock a graph: `assert modelcheck.baseline == modelcheck_snapshot` in the test's body, and run
        pytest --modelcheck --snapshot-update once.""",
    )


def test_the_locked_graph_is_a_small_text_and_todays_equal_one_passes(locked):
    assert locked.files() == [FILE]
    text = (locked.path / "snapshots" / FILE).read_text()
    assert text.startswith("# pytest-modelcheck baseline\n# the optimized graph without its weights")
    assert "weights: " in text
    assert len(text) < 10_000
    locked.run("--modelcheck-report", "out.json").outcomes(passed=1)
    (gate,) = locked.report()["tests"][0]["gates"]
    assert gate["verdict"] == "pass"
    assert gate["measured"] == SAME_GRAPH


def test_an_equal_graph_is_timed_where_it_has_to_be_faster(locked):
    locked.gated("expect_latency(regression='<=-50%')", body=LOCK, fixtures=BOTH)
    locked.run().outcomes(failed=1).has("expect_latency: regression expected <=-50%, found regression ")


def test_equal_nodes_with_other_weights_are_the_locked_graph(locked):
    locked.replace("net.py", "return Net()", "torch.manual_seed(5); return Net()")
    locked.run("--modelcheck-report", "out.json").outcomes(passed=1)
    assert locked.report()["tests"][0]["gates"][0]["measured"] == SAME_GRAPH


def test_one_attribute_more_is_another_graph_and_is_timed(locked):
    locked.replace("net.py", "torch.tanh(layer(x))", "torch.nn.functional.leaky_relu(layer(x), 0.3)")
    locked.run("--snapshot-update").outcomes(passed=1)
    locked.replace("net.py", "0.3", "0.4").run("--modelcheck-report", "out.json").outcomes(passed=1)
    measured = locked.report()["tests"][0]["gates"][0]["measured"]
    assert measured.startswith("regression ")
    assert measured != SAME_GRAPH


def test_a_graph_that_takes_ten_times_as_long_fails_names_the_module_and_leaves_the_baseline(locked):
    before = (locked.path / "snapshots" / FILE).read_text()
    locked.replace("net.py", "LAYERS = 20\n", "LAYERS = 200\n").run().outcomes(failed=1).has(
        "expect_latency: regression expected <=100%, found regression ",
        "where: layers.* +",
        "next:  If the loss is meant, run pytest --modelcheck --snapshot-update: today's graph becomes the baseline.",
    )
    assert (locked.path / "snapshots" / FILE).read_text() == before
    locked.run("--snapshot-update").outcomes(passed=1)
    assert (locked.path / "snapshots" / FILE).read_text() != before
    locked.run().outcomes(passed=1)


def test_another_graph_is_no_failure_of_the_snapshot_itself(locked):
    locked.replace("net.py", "torch.tanh(layer(x))", "torch.relu(layer(x))").run().outcomes(passed=1)


def test_other_weights_and_another_opset_are_told_in_the_report(locked):
    locked.replace("net.py", "return Net()", "torch.manual_seed(5); return Net()")
    locked.replace("conftest.py", 'exporter="torchscript"', 'exporter="torchscript", opset=13')
    locked.run("--modelcheck-report", "out.json").outcomes(passed=1)
    measured = locked.report()["tests"][0]["gates"][0]["measured"]
    assert "the locked graph is of opset " in measured
    assert "today's of 13" in measured
    assert "are today's by name, with other content" in measured


def test_inputs_of_another_shape_are_an_error_that_shows_both(locked):
    locked.replace("net.py", "torch.randn(64, 128)", "torch.randn(32, 128)").run().outcomes(failed=1).has(
        "[error] expect_latency: verdict expected a measurement, found the locked graph takes",
        "they cannot be timed side by side",
    )


def test_a_locked_graph_that_was_cut_short_is_an_error(locked):
    path = locked.path / "snapshots" / FILE
    path.write_text(path.read_text()[:-200])
    locked.run().outcomes(failed=1).has("the locked baseline cannot be read", "record it again")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", 'expects nothing; write e.g. speedup=">=0.98" or regression="<=5%"'),
        ("regression='<=5'", "regression='<=5': write a percentage, e.g. regression=\"<=5%\""),
        ("speedup='>=1', threads=0", "threads=0: write a number of intra-op threads, 1 or more"),
    ],
)
def test_bad_arguments_are_usage_errors(project, arguments, message):
    project.gated(f"expect_latency({arguments})").run().bad_marker(f"test_it.py::test_net: expect_latency: {message}")
