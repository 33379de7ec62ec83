"""A kept result is used only whole, unaltered and under the same key."""

import errno
import os
import time
from pathlib import Path

import pytest

from pytest_modelcheck.store import KeptResults, NotKeepableError

KEY = {"export": "abc", "seeds": 20, "passes": ["a", "b"]}


@pytest.fixture
def kept(tmp_path):
    return KeptResults(tmp_path / "entry", keep_per_kind=2)


def only_file(kept):
    (file,) = kept.folder.glob("*.json")
    return file


def test_a_result_is_found_under_its_key_in_its_kind_only(kept):
    assert kept.find("passes", KEY) is None
    kept.keep("passes", KEY, (1, 2.5))
    assert kept.find("passes", dict(reversed(KEY.items()))) == (1, 2.5)
    assert kept.find("fusion", KEY) is None


@pytest.mark.parametrize(
    "change", [{"export": "abd"}, {"seeds": 19}, {"passes": ["a"]}, {"passes": ["b", "a"]}, {"x": 1}]
)
def test_any_other_key_finds_nothing(kept, change):
    kept.keep("passes", KEY, 1)
    assert kept.find("passes", KEY | change) is None


def test_a_file_whose_recorded_key_is_another_one_is_not_used(kept):
    kept.keep("passes", KEY, 1)
    file = only_file(kept)
    file.write_text(file.read_text().replace('"abc"', '"abd"'))
    assert kept.find("passes", KEY) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"key": {}, "files": {}, "value": 1}', "\udcff"])
def test_a_damaged_file_is_no_result_and_is_written_anew(kept, content):
    kept.keep("passes", KEY, 1)
    only_file(kept).write_bytes(content.encode(errors="surrogateescape"))
    assert kept.find("passes", KEY) is None
    kept.keep("passes", KEY, 2)
    assert kept.find("passes", KEY) == 2


def test_a_result_whose_file_was_altered_or_is_gone_is_not_used(kept):
    kept.folder.mkdir()
    graph = kept.folder / "graph.onnx"
    graph.write_bytes(b"graph")
    kept.keep("passes", KEY, 1, [graph])
    assert kept.find("passes", KEY) == 1
    graph.write_bytes(b"grapH")
    assert kept.find("passes", KEY) is None
    graph.unlink()
    assert kept.find("passes", KEY) is None


def test_what_cannot_be_kept_leaves_no_file(kept):
    with pytest.raises(NotKeepableError):
        kept.keep("passes", KEY, object())
    assert not kept.folder.exists()


def test_old_results_go_with_their_files_and_recent_ones_stay(kept):
    for seeds in (1, 2, 3):
        key = {"seeds": seeds}
        kept.folder.mkdir(exist_ok=True)
        graph = kept.folder / f"{kept.name('passes', key)}.onnx"
        graph.write_bytes(b"graph")
        kept.keep("passes", key, seeds, [graph])
        if seeds == 1:
            old = time.time() - 7200
            os.utime(kept.folder / f"{kept.name('passes', key)}.json", (old, old))
    assert [kept.find("passes", {"seeds": seeds}) for seeds in (1, 2, 3)] == [None, 2, 3]
    assert len(list(kept.folder.iterdir())) == 4


def test_a_disk_that_fills_up_leaves_no_part_of_a_result(kept, monkeypatch):
    def full(path, text, encoding):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        kept.keep("passes", {"a": 1}, 1)
    assert list(kept.folder.iterdir()) == []
