"""What a report says of its run."""

import re
import subprocess

from pytest_modelcheck.report.about import about_run, commit


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", *identity, "-C", folder, *arguments], check=True, capture_output=True)


def test_the_commit_and_whether_files_differ_from_it(tmp_path):
    assert commit(tmp_path) == "unknown"
    git(tmp_path, "init", "-q")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "First")
    assert re.fullmatch("[0-9a-f]{7,} First", commit(tmp_path))
    (tmp_path / "a").write_text("2")
    assert commit(tmp_path).endswith(" First (with local changes)")


def test_the_command_can_be_pasted(tmp_path):
    about = about_run(tmp_path, ["--modelcheck", "-k", "a or b"])
    assert about["command"] == "pytest --modelcheck -k 'a or b'"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", about["date"])
