"""docs/writing_a_gate.md, executed: the gate in an installed package and in a conftest, its tests, and it failing."""

import json

import pytest

from tests.pages import ROOT, Page, run

pytestmark = pytest.mark.usefixtures("forked_python")

PAGE = Page("writing_a_gate.md")
GATE, TESTS = PAGE.blocks("python")
(INI,) = PAGE.blocks("ini")

USED = """
import pytest, torch
from pytest_modelcheck import ModelCase

CASE = ModelCase("net", lambda: torch.nn.Linear(3, 2), lambda seed: (torch.randn(1, 3),), exporter="torchscript")

@pytest.mark.parametrize("model_case", [CASE])
@pytest.mark.expect_opset(at_most=16)
def test_net(modelcheck): pass
"""

KIND = '''
from pytest_modelcheck.snapshots.kinds import SnapshotKind


class Answer(int):
    """A result of a type of its own."""


KIND = SnapshotKind(
    name="answer",
    type=Answer,
    rule="the answer",
    render=lambda answer: f"answer: {int(answer)}\\n",
    differences=lambda recorded, now: (f"was {recorded.strip()}, now {now.strip()}",),
)
'''

LOCKED = """
import pytest, torch
from acme_kinds import Answer
from pytest_modelcheck import ModelCase

CASE = ModelCase("net", lambda: torch.nn.Linear(3, 2), lambda seed: (torch.randn(1, 3),), exporter="torchscript")

@pytest.mark.parametrize("model_case", [CASE])
@pytest.mark.expect_opset(at_most=99)
def test_net(modelcheck, modelcheck_snapshot):
    assert Answer({answer}) == modelcheck_snapshot
"""


@pytest.fixture
def project(tmp_path):
    """A folder with the module of the page, where the checkout's package is found, too."""
    (tmp_path / "acme_gates.py").write_text(GATE, encoding="utf-8")
    (tmp_path / "pytest_modelcheck").symlink_to(ROOT / "pytest_modelcheck")
    return tmp_path


def install(project):
    """What installing the package of the page leaves: its module and its entry points."""
    (toml,) = PAGE.blocks("toml")
    group, line = toml.split("\n", 1)
    metadata = project / "acme_gates-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-gates\nVersion: 1.0\n", encoding="utf-8")
    entries = f"[{group.split(chr(34))[1]}]\n{line.replace(chr(34), '')}"
    (metadata / "entry_points.txt").write_text(entries, encoding="utf-8")


def test_the_tests_of_the_page_are_green(project):
    (project / "test_expect_opset.py").write_text(TESTS, encoding="utf-8")
    done = run(project, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_expect_opset.py")
    assert done.stdout.splitlines()[-1].startswith("10 passed"), done.stdout


@pytest.mark.parametrize("road", ["installed", "conftest"])
def test_the_marker_fails_a_run_and_is_listed_with_its_help(project, road):
    (project / "test_used.py").write_text(USED, encoding="utf-8")
    if road == "installed":
        install(project)
    else:
        (project / "conftest.py").write_text(GATE, encoding="utf-8")
        (project / "pytest.ini").write_text(INI, encoding="utf-8")
    arguments = ("--modelcheck", "--strict-markers", "--modelcheck-report=report.json", "-p", "no:cacheprovider")
    done = run(project, "-m", "pytest", *arguments, "test_used.py")
    assert "expect_opset: opset expected <=16, found 17 in net (optimized, torchscript, target portable)" in done.stdout
    assert done.returncode == 1
    (row,) = json.loads((project / "report.json").read_text())["tests"]
    assert row["model"]["opset"] == {"standard": 17}
    listed = run(project, "-m", "pytest", "--markers")
    assert "@pytest.mark.expect_opset(at_most): the optimized graph needs no newer standard operator" in listed.stdout


def test_a_bad_argument_is_an_error_of_its_file_before_any_export(project):
    install(project)
    (project / "test_used.py").write_text(USED.replace("at_most=16", "at_most='16'"), encoding="utf-8")
    done = run(project, "-m", "pytest", "--modelcheck", "-p", "no:cacheprovider", "test_used.py")
    assert done.returncode == 2
    assert "test_used.py::test_net: expect_opset: at_most='16' must be a positive whole number" in done.stdout


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere:GATE", "gate 'nowhere:GATE' cannot be imported: No module named 'nowhere'"),
        ("acme_gates:parse", "gate 'acme_gates:parse' is a function, not a pytest_modelcheck.gates.Gate"),
    ],
)
def test_an_ini_line_that_names_no_gate_is_a_usage_error(project, place, message):
    (project / "pytest.ini").write_text(f"[pytest]\nmodelcheck_gates = {place}\n", encoding="utf-8")
    done = run(project, "-m", "pytest", "-p", "no:cacheprovider")
    assert done.returncode == 4
    assert message in done.stderr


def test_a_gate_brings_a_kind_of_snapshot(project):
    install(project)
    (project / "acme_kinds.py").write_text(KIND, encoding="utf-8")
    with_kind = GATE.replace("parse, check)", 'parse, check, kinds=("acme_kinds:KIND",))')
    (project / "acme_gates.py").write_text(with_kind, encoding="utf-8")
    test = project / "test_locked.py"
    command = ("-m", "pytest", "--modelcheck", "-p", "no:cacheprovider", "test_locked.py")
    test.write_text(LOCKED.format(answer=42), encoding="utf-8")
    assert run(project, *command, "--snapshot-update").returncode == 0
    assert run(project, *command).returncode == 0
    test.write_text(LOCKED.format(answer=43), encoding="utf-8")
    done = run(project, *command)
    assert done.returncode == 1
    assert "was answer: 42, now answer: 43" in done.stdout
