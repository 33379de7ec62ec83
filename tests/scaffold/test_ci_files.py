"""The CI files that are written, shipped and documented say the same and can be read."""

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from pytest_modelcheck.report.markdown import MARK
from pytest_modelcheck.scaffold.files import WORKFLOW, workflow
from pytest_modelcheck.scaffold.target import Target

ROOT = Path(__file__).parents[2]


def runs(steps):
    return [step["run"] for step in steps if "run" in step]


def test_the_workflow_that_is_written_runs_the_checks_and_keeps_the_cache():
    job = yaml.safe_load(WORKFLOW)["jobs"]["modelcheck"]
    assert [command.split()[0] for command in runs(job["steps"])] == ["pip", "pip", "pytest"]
    assert any(step.get("with", {}).get("path") == ".modelcheck" for step in job["steps"])


TORCH = metadata.version("torch").partition("+")[0]
TRANSFORMERS = metadata.version("transformers")
PLUGIN = 'pip install "pytest-modelcheck[onnxruntime]"'
MODULE = Target(name="net", source="", arguments=())


@pytest.mark.parametrize(
    ("files", "target", "installs"),
    [
        ({}, MODULE, [PLUGIN]),
        (
            {},
            Target(name="bert", source="", arguments=(), packages=("transformers",)),
            [f"{PLUGIN} transformers=={TRANSFORMERS}"],
        ),
        ({"pyproject.toml": "[project]\nname = 'a'"}, MODULE, ["pip install -e .", PLUGIN]),
        ({"pyproject.toml": "[tool.ruff]"}, MODULE, [PLUGIN]),
        ({"setup.py": ""}, MODULE, ["pip install -e .", PLUGIN]),
        ({"requirements.txt": "timm"}, MODULE, ["pip install -r requirements.txt", PLUGIN]),
        ({}, Target(name="net", source="", arguments=(), file=Path("net.onnx")), [PLUGIN]),
    ],
)
def test_the_workflow_installs_what_project_and_model_need(tmp_path, files, target, installs):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    text = workflow(target, tmp_path)
    steps = yaml.safe_load(text)["jobs"]["modelcheck"]["steps"]
    assert steps[1]["with"]["python-version"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert runs(steps)[0] == f"pip install torch=={TORCH} --index-url https://download.pytorch.org/whl/cpu"
    assert runs(steps)[1:-1] == installs
    assert ("# and what your models need" in text) == (installs == [PLUGIN] and target is MODULE)


def test_the_page_shows_the_same_steps():
    page = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
    shown, written = (
        yaml.safe_load(text)["jobs"]["modelcheck"]["steps"]
        for text in (page.split("```yaml\n")[1].split("```")[0], WORKFLOW.replace("PYTHON", "3.11"))
    )
    assert [step for step in shown if "run" not in step] == [step for step in written if "run" not in step][:3]
    assert MARK in page


@pytest.mark.parametrize("name", ["action.yml", "gitlab-ci.yml"])
def test_a_shipped_file_can_be_read_and_writes_the_reports_it_uploads(name):
    text = (ROOT / "ci" / name).read_text(encoding="utf-8")
    assert yaml.safe_load(text)
    reports = re.findall(r"--modelcheck-report=(\S+)", text)
    assert len(reports) == 2
    for report in reports:
        assert text.count(report) >= 2


def test_the_comment_is_found_by_the_first_line_of_the_report():
    assert f'startswith("{MARK}")' in (ROOT / "ci/action.yml").read_text(encoding="utf-8")
