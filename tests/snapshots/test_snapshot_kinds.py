"""What is particular to one kind: tolerances, and what is said first."""

import re

import pytest

pytestmark = pytest.mark.usefixtures("forked_python")

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
        "unread inputs: -",
        "nodes named: /...",
        "weights named: by-module",
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


MODULES = "assert modelcheck.modules == modelcheck_snapshot"
ROWS = "test_it/test_net.modules.txt"


@pytest.fixture
def modules(project):
    project.gated(body=MODULES, fixtures="modelcheck, modelcheck_snapshot").run("--snapshot-update").outcomes(passed=1)
    return project


def test_rows_of_the_former_format_are_read_and_upgraded_by_the_flag(modules):
    edit(modules, "# pytest-modelcheck modules, format 2", "# pytest-modelcheck modules", ROWS)
    said = "found rows of format 1, which an earlier version recorded: no difference in their terms in net"
    modules.run().outcomes(failed=1).has(said, "next:  To upgrade the file, run pytest --modelcheck --snapshot-update")
    edit(modules, "act (ReLU): Relu 1", "act (ReLU): Relu 2", ROWS)
    modules.run().outcomes(failed=1).has(
        "which an earlier version recorded: 1 difference in their terms", "act: -1 Relu"
    )
    modules.run("--snapshot-update").outcomes(passed=1).has("1 snapshot updated.")
    assert (modules.path / "snapshots" / ROWS).read_text().startswith("# pytest-modelcheck modules, format 2\n")
    modules.run().outcomes(passed=1)


def test_the_step_of_a_library_that_has_no_part_in_a_kind_is_not_its_reason(modules):
    header, rows = (modules.path / "snapshots" / ROWS).read_text().split("\n\n", 1)
    lines = [re.sub(r"(onnxruntime|torch) \d", r"\1 0", line) for line in header.splitlines()]
    text = "\n".join(lines) + "\n\n" + rows.replace("act (ReLU): Relu 1", "act (ReLU): Relu 2")
    (modules.path / "snapshots" / ROWS).write_text(text, encoding="utf-8")
    assert "onnxruntime 0." in text
    modules.run().outcomes(failed=1).has("next:  Recorded with torch 0.").lacks("onnxruntime 0.")


def test_the_snapshots_of_the_other_exporter_are_compared_instead_of_no_such_file(modules):
    test = f"""
    from pytest_modelcheck import ModelCase
    import net

    @pytest.mark.parametrize("model_case", [
        pytest.param(ModelCase("net", net.build, net.inputs, exporter="torchscript"), id="net-torchscript")
    ])
    def test_net(modelcheck, modelcheck_snapshot):
        {MODULES}
    """
    modules.test(test).run("--snapshot-update").outcomes(passed=1)
    modules.test(test.replace("torchscript", "dynamo").replace("net.build", "lambda: torch.nn.Sequential(net.build())"))
    modules.replace("test_it.py", "import net", "import net, torch")
    modules.run(subprocess=True).has(
        "found no such file; against test_net[net-torchscript].modules.txt, of the other exporter in net",
        "where: act -> 0.act",
    ).result.assert_outcomes(failed=1)


def test_an_exporter_that_changed_is_said_beside_what_it_changed(modules):
    modules.replace("conftest.py", '"torchscript"', '"dynamo"')
    modules.replace("net.py", "torch.nn.ReLU()", "torch.nn.GELU()")
    modules.run().outcomes(failed=1).has(
        "next:  Recorded with exporter torchscript, now dynamo. If the change is meant"
    )


def test_a_change_that_is_gone_after_optimization_says_so(project):
    project.gated(
        body="assert modelcheck.attribution == modelcheck_snapshot", fixtures="modelcheck, modelcheck_snapshot"
    )
    project.run("--snapshot-update").outcomes(passed=1)
    edit(project, "nodes: 3 -> 3", "nodes: 4 -> 3", "test_it/test_net.attribution.txt")
    project.run().outcomes(failed=1).has(
        "where: the optimized graph is the locked one, node for node (values of weights aside)",
        "       nodes: 4 -> 3, now 3 -> 3",
    )
