"""A kept result is used only whole, unaltered and under the same key; a store that cannot be used keeps nothing."""

import dataclasses
import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_modelcheck.store import Store, folder, results, temporary_folder
from pytest_modelcheck.store.codec import NotKeepableError

KEY = {"export": "abc", "seeds": 20, "passes": ["a", "b"]}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def keep(store, value, key=KEY, kind="passes", **files):
    """Keep a value with files of these contents."""
    with store.making(kind, key) as scratch:
        for name, text in files.items():
            (scratch / name).write_text(text)
        return store.keep(kind, key, value, files=scratch if files else None)


def found(store, key=KEY, kind="passes"):
    entry = store.find(kind, key)
    return None if entry is None else entry.value


def files_of(store) -> list[str]:
    return sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file())


def test_a_result_is_made_once_and_found_under_its_key_in_its_kind_only(store):
    made = []

    def make(folder):
        made.append(1)
        return (1, 2.5)

    assert [store.get("passes", key, make).value for key in (KEY, dict(reversed(KEY.items())))] == [(1, 2.5)] * 2
    assert len(made) == 1
    assert found(store, kind="fusion") is None


def test_what_is_not_worth_keeping_is_made_every_time(store):
    first = store.get("passes", KEY, lambda folder: 1, lambda value: value > 1)
    assert (first.value, first.kept, first.taken) == (1, False, False)
    assert found(store) is None
    second = store.get("passes", KEY, lambda folder: 2, lambda value: value > 1)
    assert (second.value, second.kept, second.taken) == (2, True, False)
    assert found(store) == 2


@pytest.mark.parametrize(
    "change", [{"export": "abd"}, {"seeds": 19}, {"passes": ["a"]}, {"passes": ["b", "a"]}, {"x": 1}]
)
def test_any_other_key_finds_nothing(store, change):
    keep(store, 1)
    assert found(store, KEY | change) is None


def replace(old, new):
    def damage(entry):
        text = entry.path.read_text()
        assert old in text
        entry.path.write_text(text.replace(old, new, 1))

    return damage


def in_place(entry):
    """Same size, same inode, same modification time: only the time of the change tells."""
    file = entry.folder / "graph"
    before = file.stat()
    time.sleep(0.01)
    with file.open("r+") as stream:
        stream.write("G")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(
    "damage",
    [
        *(lambda entry, text=text: entry.path.write_text(text) for text in ("", "{", "[]", "{}", '{"key": {}}')),
        replace('"value": 1', '"value": 2'),
        replace('"abc"', '"abd"'),
        replace('"format": ', '"format": 9'),
        lambda entry: entry.path.write_bytes(b"\xff\xfe"),
        lambda entry: (entry.folder / "graph").write_text("grap"),
        lambda entry: (entry.folder / "graph").unlink(),
        lambda entry: shutil.rmtree(entry.folder),
        in_place,
    ],
)
def test_a_damaged_result_is_not_used_says_so_and_is_made_again(store, damage):
    damage(keep(store, 1, graph="graph"))
    why = []
    assert store.find("passes", KEY, why=why) is None
    assert why[0].startswith("the kept result is damaged: ")
    assert store.get("passes", KEY, lambda folder: 3).value == 3
    assert found(store) == 3


@pytest.mark.parametrize("wanted", [True, False])
def test_files_that_are_made_are_those_of_the_entry_kept_or_not(store, wanted):
    def make(folder):
        (folder / "graph").write_text("graph")
        return 1

    made = store.get("passes", KEY, make, lambda value: wanted)
    assert (made.folder / "graph").read_text() == "graph"
    assert made.folder.is_relative_to(store.root) == made.kept == wanted
    assert store.find("passes", KEY) == (dataclasses.replace(made, taken=True) if wanted else None)


def test_files_whose_times_changed_but_not_their_content_are_used(store):
    entry = keep(store, 1, graph="graph")
    os.utime(entry.folder / "graph", (1, 1))
    assert found(store) == 1


def test_what_cannot_be_kept_leaves_nothing(store):
    with pytest.raises(NotKeepableError):
        keep(store, object())
    assert files_of(store) == [".busy/gate.lock", ".gitignore"]


def test_the_store_keeps_itself_out_of_version_control(store):
    keep(store, 1)
    assert (store.root / ".gitignore").read_text() == "*\n"


def unused_for_two_hours(store):
    for path in store.root.glob("*.json"):
        os.utime(path, (time.time() - 7200, time.time() - 7200))


def test_beyond_the_limit_the_least_recently_used_go_with_their_files_and_none_that_may_be_in_use(store):
    small = Store(store.folder, limit_bytes=25_000)
    for seeds in range(3):
        keep(small, seeds, {"seeds": seeds}, graph="x" * 10_000)
    assert [found(small, {"seeds": seeds}) for seeds in range(3)] == [0, 1, 2], "all used in the last hour"
    unused_for_two_hours(small)
    assert found(small, {"seeds": 0}) == 0  # used again
    keep(small, 3, {"seeds": 3}, graph="x" * 10_000)
    assert [found(small, {"seeds": seeds}) for seeds in range(4)] == [0, None, None, 3]
    assert len(list(small.root.glob("passes-*"))) == 4


def test_a_folder_that_did_not_change_is_not_listed_again(store, monkeypatch):
    keep(store, 1)
    long_ago = time.time() - 60
    os.utime(store.root, (long_ago, long_ago))
    assert found(store) == 1
    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", None)
        assert found(store) == 1
    keep(store, 2, {"other": 1})
    assert found(store, {"other": 1}) == 2
    shutil.rmtree(store.root)
    assert found(store) is None


def test_a_store_is_measured_when_much_was_kept_not_each_time(store, monkeypatch):
    measured: list[str] = []

    def named(folder, stem):
        measured.append(stem)
        return []

    monkeypatch.setattr(results, "_named", named)
    large = Store(store.folder, limit_bytes=64 * 10_000)
    for seeds in range(12):
        keep(large, "x" * 4_000, {"seeds": seeds})
    assert measured.count("") == 4, "the first time, and after each 10,000 bytes"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_store_that_cannot_be_written_to_keeps_nothing_and_says_so_in_one_line(store, monkeypatch, error):
    keep(store, 0, {"other": 1})

    def fails(*args, **options):
        raise OSError(error, os.strerror(error), str(store.root))

    monkeypatch.setattr(Path, "open", fails)
    for _ in range(2):
        assert store.get("passes", KEY, lambda folder: 1).value == 1
    monkeypatch.undo()
    assert found(store) is None
    assert store.notes == [
        "results are not kept (choose another folder with --modelcheck-cache=DIR, or run with --modelcheck-no-cache): "
        f"{store.root}: {os.strerror(error)}"
    ]


@pytest.mark.parametrize("place", ["", ".busy"])
def test_a_file_in_the_way_keeps_nothing_and_names_it(tmp_path, place):
    store = Store(tmp_path / "store")
    (tmp_path / "store").mkdir() if place else None
    (tmp_path / "store" / place).write_text("mine")
    assert store.get("passes", KEY, lambda folder: 1).value == 1
    assert len(store.notes) == 1
    assert str(tmp_path / "store" / place) in store.notes[0]
    assert (tmp_path / "store" / place).read_text() == "mine"


KILLED = """
import os, pathlib, sys
from pytest_modelcheck.store import Store, temporary_folder
store = Store(pathlib.Path(sys.argv[1]))
(temporary_folder() / "model.onnx").write_text("half")
with store.making("passes", {"seeds": 1}) as scratch:
    (scratch / "model.onnx").write_text("half")
    store.place("passes", {"seeds": 1}).with_suffix(".onnx").write_text("half")
    (store.folder / f".{store.place('passes', {'seeds': 1}).name}-x8s").mkdir()
    (store.root / ".busy" / "passes-1.new").write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_gone_after_the_next_run(store, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    subprocess.run([sys.executable, "-c", KILLED, str(store.root)], check=False)
    assert len(files_of(store)) > 4
    (store.root / "zoo.json").write_text("a report that the user put there")
    folder.clean.cache_clear()
    assert found(store) is None
    assert files_of(store) == [".busy/gate.lock", ".gitignore", "zoo.json"]
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = temporary_folder()
    (beside,) = (path for path in made.parent.iterdir() if path.is_dir())
    assert beside == made


LOOKS = "import pathlib, sys; from pytest_modelcheck.store import Store; Store(pathlib.Path(sys.argv[1])).find('a', {})"


def test_what_another_process_is_making_is_left_alone(store):
    with store.making("passes", KEY) as scratch:
        store.place("passes", KEY).with_suffix(".onnx").write_text("half")
        subprocess.run([sys.executable, "-c", LOOKS, str(store.root)], check=True)
        assert scratch.is_dir()
        assert store.place("passes", KEY).with_suffix(".onnx").is_file()


MAKES = """
import pathlib, sys, time
from pytest_modelcheck.store import Store
def make(folder):
    time.sleep(0.5)
    print("made")
    return 1
assert Store(pathlib.Path(sys.argv[1])).get("passes", {"seeds": 1}, make).value == 1
"""


def test_two_processes_at_once_make_a_result_once(store):
    command = [sys.executable, "-c", MAKES, str(store.root)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate()[0] for process in processes) == ["", "made\n"]
