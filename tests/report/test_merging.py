"""Reports of several runs become one: no test twice, no failure lost."""

import json

import pytest

from pytest_modelcheck.__main__ import main
from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.report.files import write_report
from pytest_modelcheck.report.merge import merge, merge_files, read_json

MODEL = {"name": "net", "exporter": "dynamo", "target": "portable"}


def row(test, outcome="passed"):
    return {"test": test, "outcome": outcome, "model": MODEL, "gates": [], "findings": []}


def report(path, *tests, status=0):
    write_report([row(test) for test in tests], path, exit_status=status)
    return path


def test_rows_of_all_reports_stand_in_one_by_test_id(tmp_path):
    first, second = report(tmp_path / "1.json", "b", "d"), report(tmp_path / "2.json", "c", "a")
    rows, status = merge_files([first, second], tmp_path / "all" / "merged.json")
    assert [each["test"] for each in rows] == ["a", "b", "c", "d"]
    assert status == 0
    assert read_json(tmp_path / "all" / "merged.json")["tests"] == rows


def test_a_failed_run_among_them_fails_the_whole(tmp_path):
    first, second = report(tmp_path / "1.json", "a"), report(tmp_path / "2.json", "b", status=1)
    assert merge_files([first, second], tmp_path / "merged.json")[1] == 1
    assert read_json(tmp_path / "merged.json")["exit_status"] == 1


def test_what_the_runs_were_is_kept_and_each_of_what_differs(tmp_path):
    for name, machine in (("a", "one"), ("b", "two")):
        write_report([row(name)], tmp_path / f"{name}.json", about={"commit": "abc", "python": machine})
    merge_files([tmp_path / "a.json", tmp_path / "b.json"], tmp_path / "whole.json")
    assert read_json(tmp_path / "whole.json")["run"] == {"commit": "abc", "python": "one; two"}


def test_one_test_in_two_reports_is_an_error_that_names_both():
    reports = [("1.json", {"tests": [row("a")]}), ("2.json", {"tests": [row("a")]})]
    with pytest.raises(OptionError, match=r"^a is in 1\.json and in 2\.json: split the tests, not runs$"):
        merge(reports)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "report {path}: Expecting property name"),
        ("[]", "report {path}: holds no tests; write it with --modelcheck-report r.json"),
        ('{"schema": 0, "tests": []}', "report {path}: schema 0, this version reads 1"),
    ],
)
def test_what_is_no_report_is_an_error_with_the_file_in_it(tmp_path, content, message):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(OptionError) as caught:
        read_json(path)
    assert str(caught.value).startswith(message.format(path=path))


def test_the_command_writes_the_file_shows_the_summary_and_ends_with_the_worst_status(tmp_path, capsys):
    first, second = report(tmp_path / "1.json", "a"), report(tmp_path / "2.json", "b", status=1)
    merged = tmp_path / "merged.json"
    assert main(["merge", str(first), str(second), "--output", str(merged)]) == 1
    assert capsys.readouterr().out.startswith("model")
    assert len(json.loads(merged.read_text())["tests"]) == 2
    assert main(["merge", str(tmp_path / "none.json"), "--output", str(merged)]) == 2
    assert "none.json" in capsys.readouterr().err
