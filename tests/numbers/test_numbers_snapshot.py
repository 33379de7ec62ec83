"""`modelcheck.numbers` and `modelcheck.weights` as snapshots: recorded, green again, red with words, renewed."""

import pytest

NUMBERS = "assert modelcheck.numbers == modelcheck_snapshot"
WEIGHTS = "assert modelcheck.weights == modelcheck_snapshot"


def locked(project, *bodies):
    return project.gated(body="\n".join(bodies), fixtures="modelcheck, modelcheck_snapshot")


def test_recorded_and_green_with_another_checkpoint_and_red_with_another_function(project):
    locked(project, NUMBERS).run("--snapshot-update").outcomes(passed=1)
    assert project.files() == ["test_it/test_net.numbers.txt"]
    project.replace("net.py", "return Net()", "torch.manual_seed(5); return Net()").run().outcomes(passed=1)
    run = project.replace("net.py", "torch.nn.ReLU()", "torch.nn.GELU()").run().outcomes(failed=1)
    run.has(
        "snapshot: numbers expected the recorded rows, found the function changed, first at the output of act (GELU)",
        "where: output output_0, plain: ",
        "act is now a GELU, was a ReLU",
        "If the change is meant, run pytest --modelcheck --snapshot-update",
    )


def test_an_update_keeps_the_file_where_only_rounding_differs_and_renews_it_after_a_renaming(project):
    locked(project, NUMBERS).run("--snapshot-update")
    path = project.path / "snapshots" / "test_it" / "test_net.numbers.txt"
    first = path.read_text(encoding="utf-8")
    number = first.split("  plain: ")[1].split()[0]
    nudged = first.replace(number, f"{float(number) * (1 + 2e-5):.6g}", 1)
    assert nudged != first
    path.write_text(nudged, encoding="utf-8")
    project.run("--snapshot-update").outcomes(passed=1)
    assert path.read_text(encoding="utf-8") == nudged
    project.replace("net.py", "self.last", "self.final").run().outcomes(passed=1)
    assert path.read_text(encoding="utf-8") == nudged
    project.run("--snapshot-update").outcomes(passed=1)
    assert "final (Linear)" in path.read_text(encoding="utf-8")
    project.run().outcomes(passed=1)


def test_weights_are_locked_where_a_test_asks(project):
    locked(project, NUMBERS, WEIGHTS).run("--snapshot-update").outcomes(passed=1)
    assert project.files() == ["test_it/test_net.numbers.txt", "test_it/test_net.weights.txt"]
    project.run().outcomes(passed=1)
    project.replace("net.py", "return Net()", "torch.manual_seed(5); return Net()")
    run = project.run().outcomes(failed=1)
    run.has("snapshot: weights expected the recorded rows, found the weights changed (4 of 4, at most ")
    run.has("the function is the same", "first.weight: ").lacks("snapshot: numbers")


@pytest.mark.parametrize("text", ["", "[modules]\n???"])
def test_a_damaged_file_is_red_and_an_update_repairs_it(project, text):
    locked(project, NUMBERS).run("--snapshot-update")
    path = project.path / "snapshots" / "test_it" / "test_net.numbers.txt"
    path.write_text(text, encoding="utf-8")
    project.run().outcomes(failed=1)
    project.run("--snapshot-update").outcomes(passed=1)
    project.run().outcomes(passed=1)


def test_a_file_locks_its_initializers_by_digest(project):
    import numpy as np
    import onnx_ir as ir

    def write(value):
        model = ir.from_onnx_text(
            '<ir_version: 8, opset_import: ["" : 17]>\\ng (float[1,2] x) => (float[1,2] y) { y = Add (x, w) }'.replace(
                "\\n", "\n"
            ).replace(
                "(float[1,2] x) => (float[1,2] y) {",
                f"(float[1,2] x) => (float[1,2] y) <float[2] w = {{1, {value}}}> {{",
            )
        )
        assert np.prod(model.graph.initializers["w"].const_value.shape) == 2
        ir.save(model, project.path / "net.onnx")

    project.conftest(
        """
        import pytest
        from pytest_modelcheck import ModelCase

        @pytest.fixture(scope="session")
        def model_case():
            return ModelCase.from_onnx("net.onnx")
        """
    )
    write(2)
    locked(project, NUMBERS).run("--snapshot-update").outcomes(passed=1)
    body = (project.path / "snapshots" / "test_it" / "test_net.numbers.txt").read_text(encoding="utf-8")
    assert (
        "note: an .onnx file has no module to draw weights for: its own weights are locked, and the wiring of its graph"
        in body
    )
    assert "\nw float [2]: " in body
    project.run().outcomes(passed=1)
    write(3)
    project.run().outcomes(failed=1).has("found 1 of 1 initializers changed in net", "where: w has other values")
