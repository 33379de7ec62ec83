"""The cache of exports: used only where it is whole, unaltered and of the same key."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

import onnx
import pytest
import torch
from torch import nn

from pytest_modelcheck import ModelCase
from pytest_modelcheck.export import ExportCache, Exported, ExportFailure, export
from pytest_modelcheck.export.locking import locked
from pytest_modelcheck.export.temporary import temporary_folder


def inputs(seed):
    return {"input": torch.ones(2, 4)}


CASE = ModelCase("tiny net", lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU()), inputs, exporter="torchscript")


@pytest.fixture
def cache(tmp_path) -> ExportCache:
    return ExportCache(tmp_path / "cache")


def exported(case, cache, **options) -> Exported:
    result = export(case, cache=cache, **options)
    assert isinstance(result, Exported), result
    return result


def test_a_second_export_with_nothing_changed_takes_the_first_ones_file(cache):
    first, second = exported(CASE, cache), exported(CASE, cache)
    assert (first.cached, second.cached) == (False, True)
    assert first.path == second.path
    assert first.seconds == second.seconds
    assert first.versions == second.versions
    assert first.warnings == second.warnings
    assert first.why == ("no earlier export of this case is in the cache",)
    assert second.why == ()


def test_without_a_cache_every_export_is_made_anew():
    first, second = exported(CASE, None), exported(CASE, None)
    assert not second.cached
    assert first.path != second.path


def test_a_changed_weight_is_exported_again_and_the_result_says_which(cache):
    exported(CASE, cache)
    module = CASE.build()
    second = exported(CASE, cache, module=module)
    assert not second.cached
    assert "weight 0.weight changed" in second.why


def test_the_two_exporters_have_entries_of_their_own(cache):
    exported(CASE, cache)
    assert not exported(CASE, cache, exporter="dynamo").cached
    assert exported(CASE, cache).cached
    assert exported(CASE, cache, exporter="dynamo").cached


def test_going_back_to_an_earlier_option_finds_the_earlier_entry(cache):
    other = dataclasses.replace(CASE, opset=18)
    exported(CASE, cache)
    assert not exported(other, cache).cached
    assert exported(CASE, cache).cached


def test_two_cases_whose_names_differ_only_in_odd_characters_do_not_share_a_folder(cache):
    first = exported(dataclasses.replace(CASE, name="net/a"), cache)
    second = exported(dataclasses.replace(CASE, name="net:a"), cache)
    assert first.path.parent.parent != second.path.parent.parent


def _truncate(folder):
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[:-10])


def _flip_a_weight_byte_keeping_size_and_time(folder):
    file = folder / "model.onnx"
    before = file.stat()
    model = onnx.load(file)
    raw = bytearray(model.graph.initializer[0].raw_data)
    raw[0] ^= 1
    model.graph.initializer[0].raw_data = bytes(raw)
    file.unlink()
    file.write_bytes(model.SerializeToString())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _forge_the_key(folder):
    entry = json.loads((folder / "entry.json").read_text())
    entry["key"]["options"]["opset"] = "99"
    (folder / "entry.json").write_text(json.dumps(entry))


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _flip_a_weight_byte_keeping_size_and_time,
        _forge_the_key,
        lambda folder: (folder / "model.onnx").unlink(),
        lambda folder: (folder / "entry.json").unlink(),
        lambda folder: (folder / "entry.json").write_text("{"),
        lambda folder: (folder / "entry.json").write_text("[]"),
        lambda folder: (folder / "entry.json").write_text('{"files": {}}'),
    ],
    ids=["truncated", "flipped", "forged", "no model", "no entry", "half an entry", "a list", "nothing listed"],
)
def test_a_damaged_entry_is_not_used_but_made_again(cache, damage):
    first = exported(CASE, cache)
    damage(first.path.parent)
    second = exported(CASE, cache)
    assert not second.cached
    assert second.why[0].startswith("the cached export is damaged: ")
    assert exported(CASE, cache).cached


def test_a_failed_export_leaves_nothing_behind_and_is_tried_again(cache):
    class Branch(nn.Module):
        def forward(self, x):
            return torch.linalg.matrix_exp(x)

    case = ModelCase("branch", Branch, lambda seed: (torch.ones(2, 2),), exporter="torchscript")
    for _ in range(2):
        assert isinstance(export(case, cache=cache), ExportFailure)
    (folder,) = (path for path in cache.directory.iterdir() if path.is_dir())
    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_model_that_cannot_be_compared_between_runs_is_exported_every_time(cache):
    def build():
        module = nn.Linear(4, 4)
        module.lock = threading.Lock()
        return module

    case = ModelCase("locked", build, inputs, exporter="torchscript")
    for _ in range(2):
        result = exported(case, cache)
        assert not result.cached
        assert "model.lock" in result.why[0]
        assert cache.directory not in result.path.parents


def _make_old(folder):
    for path in (folder / "entry.json", folder):
        os.utime(path, (time.time() - 7200, time.time() - 7200))


def test_only_the_newest_entries_are_kept_but_none_that_may_be_in_use(cache):
    small = dataclasses.replace(cache, keep=2)
    paths = [exported(dataclasses.replace(CASE, opset=opset), small).path for opset in (13, 14, 15, 16)]
    assert all(path.exists() for path in paths)
    for path in paths:
        _make_old(path.parent)
    exported(dataclasses.replace(CASE, opset=14), small)  # used again
    exported(dataclasses.replace(CASE, opset=17), small)
    assert [path.exists() for path in paths] == [False, True, False, False]


def test_what_a_killed_process_left_is_removed_in_time(cache):
    folder = exported(CASE, cache).path.parent.parent
    (folder / ".scratch-dead").mkdir()
    os.utime(folder / ".scratch-dead", (time.time() - 7200,) * 2)
    (folder / ".scratch-alive").mkdir()
    exported(dataclasses.replace(CASE, opset=16), cache)
    assert not (folder / ".scratch-dead").exists()
    assert (folder / ".scratch-alive").exists()


def test_the_cache_keeps_itself_out_of_version_control(cache):
    exported(CASE, cache)
    assert (cache.directory / ".gitignore").read_text() == "*\n"


def test_folders_of_ended_processes_are_removed_and_those_of_running_ones_are_not(tmp_path, monkeypatch):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    names = [f"modelcheck-{ended.pid}-a", f"modelcheck-{os.getpid()}-b", "modelcheck-report", "modelcheck-x-y"]
    for name in names:
        (tmp_path / name).mkdir()
    made = temporary_folder()
    assert made.parent == tmp_path
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[1:], made.name])


PROCESS = """
import sys, pathlib, torch
from torch import nn
from pytest_modelcheck import ModelCase
from pytest_modelcheck.export import ExportCache, export

def build():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())

def inputs(seed):
    return {"input": torch.ones(2, 4)}

case = ModelCase("shared", build, inputs, exporter="torchscript")
result = export(case, cache=ExportCache(pathlib.Path(sys.argv[1])))
result.model
print(result.cached)
"""


def test_two_processes_at_once_make_the_export_once_and_both_get_a_whole_file(tmp_path):
    script = tmp_path / "both.py"
    script.write_text(PROCESS)
    command = [sys.executable, str(script), str(tmp_path / "cache")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate()[0].strip() for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert said == ["False", "True"]


def test_a_lock_is_held_by_one_at_a_time_and_freed_afterwards(tmp_path):
    order = []

    def second():
        with locked(tmp_path / "lock"):
            order.append("second")

    with locked(tmp_path / "lock"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
