"""expect_golden without a path: recorded by --snapshot-update, compared after, renewed where it differs."""

import pytest

FILE = "test_it/test_net.golden.npz"


@pytest.fixture
def recorded(project):
    project.gated("expect_golden")
    project.run("--snapshot-update").outcomes(passed=1)
    assert project.files() == [FILE]
    return project


def content(project):
    return (project.path / "snapshots" / FILE).read_bytes()


def test_without_a_record_the_flag_is_named(project):
    run = project.gated("expect_golden").run().outcomes(failed=1)
    run.has(
        f"expect_golden: golden expected a recorded reference in snapshots/{FILE}, found no such file",
        "next:  To record it, run pytest --modelcheck --snapshot-update and commit the file.",
    )
    assert project.files() == []


def test_the_record_is_compared_and_left_alone_where_it_agrees(recorded):
    before = content(recorded)
    assert len(before) < 5_000
    recorded.run().outcomes(passed=1)
    recorded.run("--snapshot-update").outcomes(passed=1)
    assert content(recorded) == before


def test_another_computation_is_red_and_the_flag_renews_the_record(recorded):
    before = content(recorded)
    run = recorded.replace("net.py", "torch.nn.ReLU()", "torch.nn.Tanh()").run().outcomes(failed=1)
    run.has(
        "expect_golden: output 'output_0' expected",
        "If the change is meant, run pytest --modelcheck --snapshot-update.",
    )
    assert content(recorded) == before
    recorded.run("--snapshot-update").outcomes(passed=1)
    assert content(recorded) != before
    recorded.run().outcomes(passed=1)


def test_other_weights_are_their_own_finding(recorded):
    run = recorded.replace("net.py", "return Net()", "torch.manual_seed(5); return Net()").run().outcomes(failed=1)
    run.has("weights expected those of the reference (4 entries, hash by hash), found 4 other entries")
    recorded.run("--snapshot-update").outcomes(passed=1)


def test_the_exported_graph_is_held_against_the_record_of_the_module(project):
    project.gated("expect_golden(stage='exported')", "expect_golden").run("--snapshot-update").outcomes(passed=1)
    assert project.files() == [FILE]
    project.run().outcomes(passed=1)


def test_a_damaged_record_is_red_and_renewed(recorded):
    (recorded.path / "snapshots" / FILE).write_bytes(b"PK")
    recorded.run().outcomes(failed=1).has("found ", "is damaged, or no .npz at all")
    recorded.run("--snapshot-update").outcomes(passed=1)
    recorded.run().outcomes(passed=1)


def test_a_reference_that_proves_nothing_is_not_recorded(project):
    project.replace("net.py", "return self.last(self.act(self.first(x)))", "return 0 * self.last(self.first(x))")
    run = project.gated("expect_golden").run("--snapshot-update").outcomes(failed=1)
    run.has("the reference proves nothing: output 'output_0' of seed 0 is all zero")
    assert project.files() == []


def test_outputs_that_are_too_large_are_not_recorded(project, monkeypatch):
    from pytest_modelcheck.golden import record

    monkeypatch.setattr(record, "LARGEST", 31)
    project.gated("expect_golden").run("--snapshot-update").outcomes(failed=1).has(
        "outputs of 0.0 MB are too large for a recorded reference (at most 0 MB): name fewer in output_names"
    )
    monkeypatch.setattr(record, "LARGEST", 32)
    project.run("--snapshot-update").outcomes(passed=1)
