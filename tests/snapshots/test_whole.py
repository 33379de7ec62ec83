"""`assert modelcheck == modelcheck_snapshot`: everything of a case is locked in one line, and compared to the end."""

import pytest

WHOLE = "assert modelcheck == modelcheck_snapshot"
EDITS = {
    "interface": ("[2,", "[7,"),
    "modules": ("Gemm 1", "Gemm 7"),
    "attribution": ("nodes: 3", "nodes: 7"),
    "fusion": ("compute nodes 3", "compute nodes 7"),
    "numbers": ("output_0 float32 [2,2]", "output_0 float32 [2,7]"),
}
"""Kind -> an edit of its file, in the order in which differences are shown."""


@pytest.fixture
def locked(project):
    project.gated(body=WHOLE, fixtures="modelcheck, modelcheck_snapshot")
    project.run("--snapshot-update").outcomes(passed=1)
    return project


def edit(project, kind):
    path = project.path / "snapshots" / "test_it" / f"test_net.{kind}.txt"
    text = path.read_text(encoding="utf-8")
    assert EDITS[kind][0] in text
    path.write_text(text.replace(*EDITS[kind]), encoding="utf-8")


def test_one_line_records_a_file_for_each_kind_and_is_green_again(locked):
    assert locked.files() == [f"test_it/test_net.{kind}.txt" for kind in sorted(EDITS)]
    locked.run().outcomes(passed=1).lacks("not locked by a snapshot")


@pytest.mark.parametrize("kind", EDITS)
def test_a_change_of_any_kind_is_red(locked, kind):
    edit(locked, kind)
    locked.run().outcomes(failed=1).has(f"snapshot: {kind} expected the recorded rows, found ")


def test_all_kinds_are_compared_and_the_interface_is_first(locked):
    for kind in EDITS:
        edit(locked, kind)
    run = locked.run().outcomes(failed=1)
    text = run.text
    places = [text.index(f"snapshot: {kind} expected") for kind in EDITS]
    assert places == sorted(places)


def test_a_kind_that_cannot_be_computed_hides_no_other(project):
    project.file(
        "net.py",
        """
        import torch

        class Net(torch.nn.Module):
            def forward(self, x):
                return x + 1 if x.sum() > 0 else x - 1

        def build():
            return Net()

        def inputs(seed):
            return (torch.ones(2, 3),)
        """,
    )
    project.gated(body=WHOLE, fixtures="modelcheck, modelcheck_snapshot")
    run = project.run("--snapshot-update").outcomes(failed=1)
    run.has("[error] modelcheck: capture expected a torch graph, found data_dependent_control_flow")
    assert "test_it/test_net.interface.txt" in project.files()


def test_what_no_test_locks_is_named(project):
    project.gated("expect_ops(Gemm=2)").run().outcomes(passed=1).has(
        "not locked by a snapshot: interface, modules, attribution, fusion, numbers of net [torchscript]"
    )


def test_two_tests_lock_together(project):
    body = "assert modelcheck.{} == modelcheck_snapshot"
    project.test(
        f"""
        def test_one(modelcheck, modelcheck_snapshot):
            {body.format("modules")}

        def test_two(modelcheck, modelcheck_snapshot):
            {body.format("interface")}
        """
    )
    project.run("--snapshot-update").outcomes(passed=2).has(
        "not locked by a snapshot: attribution, fusion, numbers of net [torchscript]"
    )
