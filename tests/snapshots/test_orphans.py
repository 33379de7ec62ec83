"""Snapshots whose test file is gone: which folders are meant, what a run makes of them, what stays."""

from types import SimpleNamespace

import pytest

from pytest_modelcheck.run_report import Reporting
from pytest_modelcheck.snapshots.orphans import orphans, remove

HEADER = "# pytest-modelcheck modules\n# a rule\n"


@pytest.fixture
def place(tmp_path):
    """Test files `a/test_it.py` and `test_top.py`; snapshots of them, and of `b/test_it.py`, which is not there."""
    for name in ("a/test_it.py", "test_top.py"):
        write(tmp_path / name)
    for name in ("a/test_it/test.modules.txt", "test_top/test.modules.txt", "b/test_it/test.modules.txt"):
        write(tmp_path / "snapshots" / name, HEADER)
    write(tmp_path / "snapshots" / "b" / "test_it" / "test.golden.npz")
    return tmp_path


def write(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def found(place, **options):
    return list(orphans(place, place / "snapshots", **options))


def files(place):
    return sorted(
        str(path.relative_to(place / "snapshots")) for path in place.rglob("snapshots/**/*") if path.is_file()
    )


def test_a_folder_without_its_test_file_is_found_beside_one_of_the_same_name(place):
    (only,) = found(place)
    folder = place / "snapshots" / "b" / "test_it"
    assert str(only) == f"{folder}: 2 files of {place / 'b' / 'test_it'}.py, which does not exist"


@pytest.mark.parametrize("name", ["b/test_it.py", "b/test_it.ipynb"])
def test_a_test_file_of_any_kind_keeps_its_snapshots(place, name):
    write(place / name)
    assert found(place) == []


def test_a_name_is_no_pattern(place):
    (place / "snapshots" / "b" / "test_it").rename(place / "snapshots" / "b" / "test_[i]t")
    write(place / "b" / "test_it.py")
    assert [orphan.folder.name for orphan in found(place)] == ["test_[i]t"]


def test_snapshots_of_a_test_file_outside_the_root_lie_in_the_directory_by_its_name(place):
    write(place / "snapshots" / "test_far" / "test.modules.txt", HEADER)
    assert len(found(place)) == 2
    assert len(found(place, used=[place.parent / "elsewhere" / "test_far.py"])) == 1


def test_files_of_others_are_neither_found_nor_removed(place):
    for name in ("notes/read.txt", "b/test_it/mine.txt", "b/data.npz"):
        write(place / "snapshots" / name, "mine")
    (only,) = found(place)
    remove(only)
    kept = [
        "a/test_it/test.modules.txt",
        "b/data.npz",
        "b/test_it/mine.txt",
        "notes/read.txt",
        "test_top/test.modules.txt",
    ]
    assert files(place) == kept


def test_what_is_empty_then_goes_too(place):
    (only,) = found(place)
    remove(only)
    assert not (place / "snapshots" / "b").exists()
    assert len(files(place)) == 2


def run_of(place, *, locked=("modules",), exitstatus=pytest.ExitCode.OK, **flags):
    """The exit status of a run of `a/test_it.py`, and what is said."""
    names = ("update_snapshots", "no_cleanup", "warn_unused_snapshots", "disable_unused_snapshots")
    option = SimpleNamespace(**dict.fromkeys(names, False) | flags)
    session = SimpleNamespace(config=SimpleNamespace(rootpath=place, option=option), exitstatus=exitstatus)
    reporting = Reporting(SimpleNamespace(snapshots=place / "snapshots"))
    reporting._rows = [{"locked": list(locked), "file": "a/test_it.py"}]
    reporting._judge_orphans(session)
    return session.exitstatus, [line.partition(" ")[0] for line in reporting._said]


FAILED = pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize(
    ("options", "expected", "left"),
    [
        ({}, (FAILED, ["unused"]), 4),
        ({"exitstatus": FAILED}, (FAILED, ["unused"]), 4),
        ({"exitstatus": pytest.ExitCode.INTERRUPTED}, (pytest.ExitCode.INTERRUPTED, []), 4),
        ({"locked": ()}, (pytest.ExitCode.OK, []), 4),
        ({"update_snapshots": True}, (pytest.ExitCode.OK, ["deleted"]), 2),
        ({"update_snapshots": True, "no_cleanup": True}, (FAILED, ["unused"]), 4),
        ({"warn_unused_snapshots": True}, (pytest.ExitCode.OK, ["unused"]), 4),
        ({"disable_unused_snapshots": True}, (pytest.ExitCode.OK, []), 4),
    ],
)
def test_a_run_fails_by_them_and_an_update_deletes_them(place, options, expected, left):
    assert run_of(place, **options) == expected
    assert len(files(place)) == left
