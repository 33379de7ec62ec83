"""Six changes nobody meant, each made the way a user would make it: the run goes red with a message that names the
model, the place and the next step; taken back, it is green again."""

import shutil
import sys

import pytest

pytestmark = pytest.mark.usefixtures("forked_python")

MODEL = """
import torch
import torch.nn.functional as F


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (torch.nn.Linear(32, 32) for _ in range(4))

    def forward(self, x):
        q, k, v = (p(x).view(2, 6, 4, 8).transpose(1, 2) for p in (self.query, self.key, self.value))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 6, 32))


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = Attention()
        self.norm = torch.nn.LayerNorm(32)
        self.up, self.act, self.down = torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 32)

    def forward(self, x):
        x = self.norm(x + self.attention(x))
        return x + self.down(self.act(self.up(x)))


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(Layer() for _ in range(3))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def build():
    return Encoder()


def inputs(seed):
    return {"x": torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(seed))}
"""

TEST = """
import pytest
from encoder import build, inputs
from pytest_modelcheck import ModelCase

CASES = [ModelCase("encoder", build, inputs, opset=20, exporter=e, output_names=["hidden"]) for e in EXPORTERS]


@pytest.mark.parametrize("model_case", CASES)
@pytest.mark.expect_reduction(cleanup_attention=">0")
@pytest.mark.expect_ops(Softmax=3)
@pytest.mark.expect_accuracy(seeds=3)
@pytest.mark.expect_hierarchy(coverage=">=95%")
def test_encoder(modelcheck, modelcheck_snapshot):
    assert modelcheck.attribution == modelcheck_snapshot
    assert modelcheck.modules == modelcheck_snapshot
    assert modelcheck.fusion == modelcheck_snapshot
"""

ATTRIBUTION = "snapshots/test_encoder/test_encoder[encoder-dynamo].attribution.txt"
ESCAPED = ATTRIBUTION.replace("[", "[[]")


@pytest.fixture(scope="module")
def recorded(forked_python, tmp_path_factory):
    """The unchanged project: its snapshots recorded, its export cached."""
    import subprocess

    folder = tmp_path_factory.mktemp("recorded")
    (folder / "encoder.py").write_text(MODEL)
    (folder / "test_encoder.py").write_text(TEST.replace("EXPORTERS", '["dynamo"]'))
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\nmodelcheck = true\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--snapshot-update"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture
def project(recorded, pytester, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    shutil.copytree(recorded, pytester.path, dirs_exist_ok=True)
    return pytester


def edit(project, old, new, file="encoder.py"):
    path = project.path / file
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
    path.write_text(text.replace(old, new))


def run(project):
    return project.runpytest("-q", "-p", "no:cacheprovider", "--show-capture=no")


def assert_red(project, *lines):
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{line}*" for line in lines])


def assert_green(project):
    run(project).assert_outcomes(passed=1)


def test_the_unchanged_model_is_green(project):
    assert_green(project)


def test_one_more_identity_is_found_and_named(project):
    edit(
        project,
        "        self.norm = torch.nn.LayerNorm(32)\n",
        "        self.norm = torch.nn.LayerNorm(32)\n        self.extra = torch.nn.Identity()\n",
    )
    edit(project, "return x + self.down(", "return self.extra(x) + self.down(")
    assert_red(
        project,
        "snapshot: modules expected the recorded rows, found 1 difference in encoder (dynamo, target portable)",
        "where: the optimized graph is the locked one, node for node (values of weights aside)",
        "layers.[[]0-2[]].extra: new (Identity): - each (x3)",
        "next:  If the change is meant, run pytest --modelcheck --snapshot-update and review the diff of",
    )
    edit(project, "        self.extra = torch.nn.Identity()\n", "")
    edit(project, "self.extra(x) + self.down(", "x + self.down(")
    assert_green(project)


def test_a_changed_activation_is_found_and_named(project):
    edit(project, "torch.nn.GELU()", 'torch.nn.GELU(approximate="tanh")')
    assert_red(
        project,
        "snapshot: modules expected the recorded rows, found 1 difference in encoder (dynamo, target portable)",
        "where: layers.[[]0-2[]].act: -1 Gelu, +1 Gelu(approximate=tanh) each (x3)",
        "next:  If the change is meant*",
    )
    edit(project, 'torch.nn.GELU(approximate="tanh")', "torch.nn.GELU()")
    assert_green(project)


def test_a_weight_that_differs_between_torch_and_onnx_is_found_and_named(project):
    edit(
        project,
        "        return x + self.down(self.act(self.up(x)))",
        "        scale = 1.001 if torch.compiler.is_exporting() else 1.0\n"
        "        return x + F.linear(self.act(self.up(x)), self.down.weight * scale, self.down.bias)",
    )
    assert_red(
        project,
        "expect_accuracy: output 'hidden' expected*in encoder*exported against torch*",
        "*exporter changed the numbers*",
    )
    edit(
        project,
        "        scale = 1.001 if torch.compiler.is_exporting() else 1.0\n"
        "        return x + F.linear(self.act(self.up(x)), self.down.weight * scale, self.down.bias)",
        "        return x + self.down(self.act(self.up(x)))",
    )
    assert_green(project)


def test_a_pass_taken_out_of_the_pipeline_is_found_and_named(project):
    edit(
        project,
        "modelcheck = true\n",
        "modelcheck = true\nmodelcheck_passes =\n  fold_constants\n  eliminate_dead_nodes\n",
        "pytest.ini",
    )
    assert_red(
        project,
        "snapshot: attribution expected the recorded rows, found*differences in encoder (dynamo, target portable)",
        "cleanup_attention: gone, was isolated*",
        "expect_reduction: cleanup_attention expected >0, found no such pass in the pipeline in encoder*",
        "where: pipeline: fold_constants, eliminate_dead_nodes",
        "next:  Put the pass back into the pipeline (ini modelcheck_passes), or take it out of the marker.",
    )
    edit(project, "modelcheck_passes =\n  fold_constants\n  eliminate_dead_nodes\n", "", "pytest.ini")
    assert_green(project)


def test_a_deleted_snapshot_is_found_and_named(project):
    text = (project.path / ATTRIBUTION).read_text()
    (project.path / ATTRIBUTION).unlink()
    assert_red(
        project,
        f"snapshot: attribution expected a recorded snapshot in *{ESCAPED}, found no such file in encoder*",
        "next:  To record it, run pytest --modelcheck --snapshot-update and commit the file.*restore it.",
    )
    (project.path / ATTRIBUTION).write_text(text)
    assert_green(project)


def test_a_nan_weight_is_found_and_named(project):
    edit(
        project,
        "    return Encoder()",
        "    encoder = Encoder()\n    encoder.layers[1].up.weight.data[0, 0] = float('nan')\n    return encoder",
    )
    assert_red(
        project,
        "expect_accuracy: output 'hidden' expected*NaN*in encoder*",
        "*weights of torch with NaN or infinity: layers.1.up.weight*",
    )
    edit(
        project,
        "    encoder = Encoder()\n    encoder.layers[1].up.weight.data[0, 0] = float('nan')\n    return encoder",
        "    return Encoder()",
    )
    assert_green(project)
