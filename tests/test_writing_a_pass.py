"""docs/writing_a_pass.md, executed: its file, its line and its tests, in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

import pytest_modelcheck
from pytest_modelcheck.foreign import FOREIGN_PASSES

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "writing_a_pass.md").read_text(encoding="utf-8")
NAME = "fuse_reciprocal_mul"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a copy of the package that has the page's file and lines, its tests, and a model."""
    root = tmp_path_factory.mktemp("project")
    copy = root / "pytest_modelcheck"
    shutil.copytree(Path(pytest_modelcheck.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    code, tests, _ = blocks("python")
    (copy / "passes" / f"{NAME}.py").write_text(code, encoding="utf-8")
    registry = copy / "passes" / "__init__.py"
    text = registry.read_text(encoding="utf-8")
    for block in blocks("diff"):
        kept = "".join(line[1:] for line in block.splitlines(keepends=True) if line[0] == " ")
        assert text.count(kept) == 1, f"the registry does not have these lines once:\n{kept}"
        text = text.replace(kept, "".join(line[1:] for line in block.splitlines(keepends=True)))
    registry.write_text(text, encoding="utf-8")
    (root / f"test_{NAME}.py").write_text(tests, encoding="utf-8")
    shutil.copy(ROOT / "tests" / "passes" / "fusing_checks.py", root)
    header = '<ir_version: 10, opset_import: ["" : 18]>\ng (float[2] x, float[2] z) => (float[2] y) '
    onnx.save(onnx.parser.parse_model(header + "{ e = Exp(z) r = Reciprocal(e) y = Mul(x, r) }"), root / "model.onnx")
    return root


def run(project, *arguments):
    environment = os.environ | {"PYTHONPATH": str(project)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=300)


def test_the_tests_of_the_page_are_green(project):
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"test_{NAME}.py")
    assert done.stdout.splitlines()[-1].startswith("7 passed"), done.stdout


def test_the_pass_is_in_the_pipeline_by_one_line_and_does_what_the_page_prints(project):
    command, *printed = blocks("console")[0].splitlines()
    done = run(project, *command.removeprefix("$ python ").split())
    assert done.returncode == 0, done.stderr
    without_seconds = [re.sub(r"\d+\.\d+ ", "0.00 ", line) for line in done.stdout.splitlines()]
    assert without_seconds == printed
    whole = run(project, "-m", "pytest_modelcheck", "attribute", "model.onnx")
    assert re.search(rf"^{NAME} +-1 +-1 ", whole.stdout, flags=re.MULTILINE), whole.stdout + whole.stderr


def test_the_matrix_with_other_optimizers(project):
    (project / "with_others.py").write_text(blocks("python")[2], encoding="utf-8")
    done = run(project, "with_others.py")
    assert done.returncode == 0, done.stderr
    rows = [line.split()[:4] for line in done.stdout.splitlines()]
    assert rows[0][0] == "onnxslim"
    assert rows[1] == [NAME, "-1", "-1", "-1"]
    assert rows[2][0] == "onnxruntime_all"


def test_the_page_names_every_foreign_pass():
    assert [pass_.name for pass_ in FOREIGN_PASSES if f"`{pass_.name}`" not in PAGE] == []
