"""What is particular to one kind: tolerances, and what is said first."""

import pytest

INTERFACE = "assert modelcheck.interface == modelcheck_snapshot"
FILE = "test_it/test_net.interface.txt"


@pytest.fixture
def locked(project):
    project.gated(body=INTERFACE, fixtures="modelcheck, modelcheck_snapshot").run("--snapshot-update").outcomes(
        passed=1
    )
    return project


def edit(project, old, new, file=FILE):
    project.replace(f"snapshots/{file}", old, new)


def test_the_interface_has_a_file_of_its_own(locked):
    assert locked.files() == [FILE]
    assert (locked.path / "snapshots" / FILE).read_text().splitlines()[4:] == [
        "input: x float32 [2, 3]",
        "output: output_0 float32 [2, 2]",
        "opset: ai.onnx 17",
        "ir version: 8",
        "files: one",
        "initializers: float32 104 B",
        "metadata: -",
        "operators of: ai.onnx",
    ]
    locked.run().outcomes(passed=1)


def test_a_change_of_the_interface_is_a_sentence(locked):
    locked.conftest((locked.path / "conftest.py").read_text().replace('"torchscript"', '"torchscript", opset=18'))
    locked.run().outcomes(failed=1).has(
        """
        snapshot: interface expected the recorded rows, found 1 difference in net (torchscript, target portable)
        where: opset of ai.onnx is now 18 (was 17)
        next:  If the change is meant, run pytest --modelcheck --snapshot-update and review the diff of
        """
    )


def test_bytes_within_the_tolerance_are_equal_and_rewrite_no_file(locked):
    edit(locked, "float32 104 B", "float32 100 B")
    locked.run().outcomes(passed=1)
    locked.run("--snapshot-update").outcomes(passed=1).lacks("snapshot updated")
    assert "float32 100 B" in (locked.path / "snapshots" / FILE).read_text()
    edit(locked, "float32 100 B", "float32 99 B")
    locked.run().outcomes(failed=1).has("initializers of float32 now take 104 B (were 99 B, +5 %)")
    locked.run("--snapshot-update").outcomes(passed=1).has("1 snapshot updated.")


def test_a_file_that_is_no_text_is_a_finding(locked):
    (locked.path / "snapshots" / FILE).write_bytes(b"\xff\xfe")
    locked.run().outcomes(failed=1).has("snapshot: interface expected")
