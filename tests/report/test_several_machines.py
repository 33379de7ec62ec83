"""Two machines share the tests of a project and a cache that they may only read; their reports become one."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from pytest_modelcheck.__main__ import main

pytestmark = pytest.mark.usefixtures("forked_python")

TEST = """
    @pytest.mark.expect_ops(Gemm={count})
    def test_net(modelcheck): pass
"""


def machine(folder, cache, *arguments):
    """A run in a process of its own; the exit status and the report."""
    command = [sys.executable, "-m", "pytest", "--modelcheck", f"--modelcheck-cache={cache}", "-p", "no:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    run = subprocess.run(
        [*command, "--modelcheck-report=report.json", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "INTERNALERROR" not in run.stdout + run.stderr
    return run.returncode, json.loads((folder / "report.json").read_text(encoding="utf-8"))


@pytest.fixture
def machines(project, tmp_path):
    """A cache that was filled by a run of all tests, and two checkouts at other places."""
    project.test(TEST.format(count=2), "test_one.py").test(TEST.format(count=3), "test_two.py").ini()
    cache = tmp_path / "shared"
    assert machine(project.path, cache)[0] == 1
    shutil.rmtree(cache / ".busy")
    (cache / ".busy").write_text("")  # nobody can take a lock: what is here can be read, and nothing be added
    checkouts = [shutil.copytree(project.path, tmp_path / name / "checkout") for name in ("a", "b")]
    return cache, checkouts


def test_they_export_nothing_and_one_report_holds_both(machines, tmp_path, capsys):
    cache, checkouts = machines
    kept = sorted(path.name for path in cache.iterdir())
    ends = [
        machine(folder, cache, test) for folder, test in zip(checkouts, ("test_one.py", "test_two.py"), strict=True)
    ]
    assert [status for status, _ in ends] == [0, 1]
    for _, report in ends:
        (row,) = report["tests"]
        assert row["model"]["export"]["cached"], row["model"]["export"]["why"]
    assert sorted(path.name for path in cache.iterdir()) == kept
    whole = tmp_path / "whole.json"
    reports = [str(folder / "report.json") for folder in checkouts]
    assert main(["merge", *reports, "--output", str(whole)]) == 1
    assert "net    torchscript  3 -> 3" in capsys.readouterr().out
    merged = json.loads(whole.read_text(encoding="utf-8"))
    assert [row["outcome"] for row in merged["tests"]] == ["passed", "failed"]
    assert merged["exit_status"] == 1
