"""``--modelcheck-model``: models without a test."""

import pytest

pytestmark = pytest.mark.usefixtures("forked_python")

TWO = """
    import net, torch

    build = net.build

    def inputs(seed):
        return (torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)),)
"""
BAKED = (
    TWO
    + """
    class Random(torch.nn.Module):
        def forward(self, x):
            return x + torch.rand(3)

    build = Random
"""
)


@pytest.fixture
def models(project):
    return project.file("two.py", TWO).file("baked.py", BAKED).test("def test_own(): pass")


def test_a_function_is_checked_instead_of_the_tests_of_the_project(models):
    run = models.run("--modelcheck-model=two:build", "--modelcheck-exporter=torchscript", modelcheck=False)
    run.outcomes(passed=1).has("two torchscript", "2 pass")
    assert models.files(".modelcheck/models") == ["test_two.py"]


def test_beside_the_tests_that_are_asked_for_and_with_the_gates_of_the_project(models):
    models.file("pyproject.toml", "[tool.modelcheck.gates]\nexpect_ops = { Gemm = 3 }\n")
    arguments = ("test_it.py", "--modelcheck-model=two:build", "--modelcheck-exporter=torchscript")
    models.run(*arguments).outcomes(passed=1, failed=1).has("expect_ops: Gemm expected 3, found 2 in two")


def test_a_model_that_fails_a_usual_gate_is_red(models):
    arguments = ("--modelcheck-model=baked:build", "--modelcheck-model=two:build", "--modelcheck-exporter=torchscript")
    models.run(*arguments).outcomes(passed=1, failed=1).has("expect_accuracy")


def test_an_architecture_by_name_in_workers(models):
    pytest.importorskip("transformers")
    run = models.run("--modelcheck-model=hf:distilbert:tiny", "-n", "1", subprocess=True)
    run.outcomes(passed=1).has("distilbert dynamo")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nothing:build", "nothing:build: cannot be imported: No module named 'nothing'"),
        ("two:make", "two:make: two has no make"),
        ("absent.onnx", "absent.onnx: there is no such file"),
        ("two", "'two' is not a model; write package.module:build, model.onnx, hf:NAME, timm:NAME or torchvision:NAME"),
    ],
)
def test_what_is_no_model_is_a_usage_error(models, model, said):
    models.run(f"--modelcheck-model={model}").usage_error(f"--modelcheck-model: {said}")
