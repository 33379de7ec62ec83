"""The versions that pyproject.toml allows are those that are tested."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

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
