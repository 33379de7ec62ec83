"""What README and the page of runtimes show is run, each example by itself; without its runtime it is skipped."""

import os
import re
import subprocess
import sys

import pytest

from pytest_modelcheck.runtimes import RUNTIMES, runtime_named
from tests.test_documents import DOCS, README, code_blocks

MARKERS = re.findall(r"^\|.*?\| `(expect_runtime\(.*?\))` \|", README, flags=re.MULTILINE)
BLOCKS = [block for block in code_blocks(DOCS["runtimes.md"], "python") if "expect_runtime" in block]
TESTS = {f"page_{index}": block for index, block in enumerate(BLOCKS)} | {
    f"readme_{index}": f"import pytest\n\n@pytest.mark.{marker}\ndef test_readme(modelcheck):\n    pass\n"
    for index, marker in enumerate(MARKERS)
}


def runtimes_of(example):
    return [runtime_named(name) for name in re.findall(r'expect_runtime\("([\w-]+)"', example)]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What one run of all that can run here says; README's model where an example has none of its own."""
    folder = tmp_path_factory.mktemp("shown")
    model = code_blocks(README, "python")[0].partition("@pytest.mark.parametrize")[0]
    fixture = "@pytest.fixture(scope='module')\ndef model_case():\n    return ModelCase('mlp', build, inputs)\n"
    (folder / "conftest.py").write_text(model + fixture, encoding="utf-8")
    for name, example in TESTS.items():
        if all(runtime.installed for runtime in runtimes_of(example)):
            (folder / f"test_{name}.py").write_text(example, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--modelcheck", "-rA", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False).stdout


def test_the_readme_has_an_example_of_every_runtime_but_the_reference():
    names = [runtime.name for example in MARKERS for runtime in runtimes_of(example)]
    assert names == [runtime.name for runtime in RUNTIMES if runtime.name != "reference"]


@pytest.mark.parametrize("name", TESTS)
def test_what_is_shown_is_green(said, name):
    for runtime in runtimes_of(TESTS[name]):
        if not runtime.installed:
            pytest.skip(f"{runtime.name} is not installed: {runtime.install}")
    assert f"PASSED test_{name}.py::" in said, said
