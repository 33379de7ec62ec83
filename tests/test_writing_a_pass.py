"""docs/writing_a_pass.md, executed: its file, its line and its tests, in a copy of the package."""

import re
import shutil

import onnx
import pytest

from pytest_modelcheck.foreign import FOREIGN_PASSES
from tests.pages import ROOT, Page, make_diffs, run

pytestmark = pytest.mark.usefixtures("forked_python")

PAGE = Page("writing_a_pass.md")
NAME = "fuse_reciprocal_mul"
TESTS = "tests/passes"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a copy of the package that has the page's file and lines, its tests, and a model."""
    root = tmp_path_factory.mktemp("project")
    PAGE.copy_of_the_package(root, f"passes/{NAME}.py", "passes/__init__.py")
    shutil.copytree(ROOT / "tests" / "passes", root / TESTS, ignore=shutil.ignore_patterns("__pycache__"))
    (root / TESTS / f"test_{NAME}.py").write_text(PAGE.blocks("python")[1], encoding="utf-8")
    header = '<ir_version: 10, opset_import: ["" : 18]>\ng (float[2] x, float[2] z) => (float[2] y) '
    onnx.save(onnx.parser.parse_model(header + "{ e = Exp(z) r = Reciprocal(e) y = Mul(x, r) }"), root / "model.onnx")
    return root


def test_the_tests_of_the_page_are_green(project):
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{TESTS}/test_{NAME}.py")
    assert done.stdout.splitlines()[-1].startswith("7 passed"), done.stdout


def test_its_rule_is_missed_until_it_has_brought_its_cases(project):
    every = project / TESTS / "test_every_rule.py"
    command = (
        "-m",
        "pytest",
        "-vv",
        "-p",
        "no:cacheprovider",
        f"{TESTS}/{every.name}",
        "-k",
        f"{NAME} or every_rule_of",
    )
    done = run(project, *command)
    assert [line for line in PAGE.blocks("text")[0].splitlines() if line not in done.stdout] == []
    assert "= 1 failed, " in done.stdout.splitlines()[-1], done.stdout
    make_diffs(every, PAGE.blocks("diff")[2:])
    done = run(project, *command)
    assert "= 6 passed, " in done.stdout.splitlines()[-1], done.stdout


def test_the_pass_is_in_the_pipeline_by_one_line_and_does_what_the_page_prints(project):
    command, *printed = PAGE.blocks("console")[0].splitlines()
    done = run(project, *command.removeprefix("$ python ").split())
    assert done.returncode == 0, done.stderr
    without_seconds = [re.sub(r"\d+\.\d+ ", "0.00 ", line) for line in done.stdout.splitlines()]
    assert without_seconds == printed
    whole = run(project, "-m", "pytest_modelcheck", "attribute", "model.onnx")
    assert re.search(rf"^{NAME} +-1 +-1 ", whole.stdout, flags=re.MULTILINE), whole.stdout + whole.stderr


def test_the_matrix_with_other_optimizers(project):
    (project / "with_others.py").write_text(PAGE.blocks("python")[2], encoding="utf-8")
    done = run(project, "with_others.py")
    assert done.returncode == 0, done.stderr
    rows = [line.split()[:4] for line in done.stdout.splitlines()]
    assert rows[0][0] == "onnxslim"
    assert rows[1] == [NAME, "-1", "-1", "-1"]
    assert rows[2][0] == "onnxruntime_all"


def test_the_page_names_every_foreign_pass():
    assert [pass_.name for pass_ in FOREIGN_PASSES if f"`{pass_.name}`" not in PAGE.text] == []
