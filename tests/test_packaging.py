"""The versions that pyproject.toml allows are those that are tested."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def lower_bounds():
    extras = PROJECT["optional-dependencies"]
    asked = [*PROJECT["dependencies"], *extras["onnxruntime"], *extras["examples"]]
    return dict(requirement.split(">=") for requirement in asked)


def test_the_lowest_versions_are_the_lower_bounds():
    lowest = pins("ci/lowest.txt")
    assert lowest.keys() == lower_bounds().keys()
    for name, bound in lower_bounds().items():
        assert re.fullmatch(rf"{re.escape(bound)}(\.0)*", lowest[name]), name


def test_every_dependency_has_a_tested_version():
    tested = {name.lower().replace("_", "-") for name in pins("constraints.txt")}
    assert {name.lower().replace("_", "-") for name in lower_bounds()} <= tested | {"pytest-modelcheck"}


def test_the_metadata_says_who_what_and_under_which_license():
    found = metadata.metadata("pytest-modelcheck")
    assert found["License-Expression"] == "MIT"
    assert found["Requires-Python"] == ">=3.11"
    assert "Framework :: Pytest" in found.get_all("Classifier")


def test_a_release_takes_its_version_from_the_tag_and_publishes_only_what_was_checked():
    flow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    assert flow[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads the word `on` as a truth value
    commands = [step["run"] for step in flow["jobs"]["build"]["steps"] if "run" in step]
    version, built, checked = (
        next(i for i, command in enumerate(commands) if command.startswith(start))
        for start in ("sed -i", "python -m build", "twine check --strict")
    )
    assert version < built < checked
    pattern = re.search("s/(.*?)/", commands[version])[1]
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if re.match(pattern, line)] == [f'version = "{PROJECT["version"]}"']
    assert flow["jobs"]["publish"]["needs"] == "build"
    assert flow["jobs"]["publish"]["permissions"] == {"id-token": "write"}
