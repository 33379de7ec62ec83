"""docs/writing_a_gate.md, executed: its file, lines and tests, in a copy of the package; and its gate, failing."""

import shutil

import pytest
from pages import ROOT, Page, run

PAGE = Page("writing_a_gate.md")

USED = """
import pytest, torch
from pytest_modelcheck import ModelCase

CASE = ModelCase("net", lambda: torch.nn.Linear(3, 2), lambda seed: (torch.randn(1, 3),), exporter="torchscript")

@pytest.mark.parametrize("model_case", [CASE])
@pytest.mark.expect_opset(at_most=16)
def test_net(modelcheck): pass
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    PAGE.copy_of_the_package(root, "gates/opset.py", "gates/__init__.py")
    (root / "test_expect_opset.py").write_text(PAGE.blocks("python")[1], encoding="utf-8")
    (root / "test_used.py").write_text(USED, encoding="utf-8")
    shutil.copy(ROOT / "tests" / "gates" / "gate_checks.py", root)
    return root


def test_the_tests_of_the_page_are_green(project):
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_expect_opset.py")
    assert done.stdout.splitlines()[-1].startswith("10 passed"), done.stdout


def test_the_marker_fails_a_run_and_is_listed_with_its_help(project):
    done = run(project, "-m", "pytest", "--modelcheck", "-p", "no:cacheprovider", "test_used.py")
    assert "expect_opset: opset expected <=16, found 17 in net (optimized, torchscript, target portable)" in done.stdout
    assert done.returncode == 1
    listed = run(project, "-m", "pytest", "--markers")
    assert "@pytest.mark.expect_opset(at_most): the optimized graph needs no newer standard operator" in listed.stdout
