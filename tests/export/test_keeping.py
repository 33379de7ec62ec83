"""Exports taken from an earlier run: what is said where they are not, and where they cannot be kept."""

import dataclasses
import os
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn

from pytest_modelcheck import ModelCase
from pytest_modelcheck.calling import build_module, module_inputs
from pytest_modelcheck.export import Exported, ExportFailure, export, was_edited
from pytest_modelcheck.store import Store, own_code

RESHAPED = "example input input changed (float32[2, 4] -> float32[3, 4])"


def build():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())


def inputs(seed):
    return {"input": torch.ones(2, 4)}


CASE = ModelCase("tiny net", build, inputs, exporter="torchscript")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cache")


def exported(case, store, **options) -> Exported:
    result = export(case, cache=store, **options)
    assert isinstance(result, Exported), result
    return result


def test_a_second_export_with_nothing_changed_takes_the_first_ones_file(store):
    first, second = exported(CASE, store), exported(CASE, store)
    assert (first.cached, second.cached) == (False, True)
    assert dataclasses.replace(first, cached=True, why=()) == second
    assert first.why == ("no earlier export of this case is in the cache",)


def test_without_a_store_every_export_is_a_new_one():
    first, second = exported(CASE, None), exported(CASE, None)
    assert not second.cached
    assert first.path != second.path


def test_the_two_exporters_have_entries_of_their_own(store):
    exported(CASE, store)
    assert not exported(CASE, store, exporter="dynamo").cached
    assert exported(CASE, store).cached
    assert exported(CASE, store, exporter="dynamo").cached


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"opset": 18}, "opset None -> 18"),
        ({"output_names": ["y"]}, "output_names None -> ['y']"),
        ({"dynamic_axes": {"input": {0: "batch"}}}, "dynamic_axes.input.0 (none) -> 'batch'"),
        ({"export_options": {"do_constant_folding": False}}, "export_options.do_constant_folding (none) -> False"),
        ({"inputs": lambda seed: {"input": torch.zeros(2, 4)}}, "example input input changed"),
        (
            {"inputs": lambda seed: {"input": torch.ones(3, 4)}},
            RESHAPED,
        ),
    ],
)
def test_a_changed_option_or_input_is_named_and_going_back_finds_the_earlier_entry(store, options, said):
    exported(CASE, store)
    other = exported(dataclasses.replace(CASE, **options), store)
    assert not other.cached
    assert said in other.why
    assert exported(CASE, store).cached


def test_a_changed_weight_is_named(store):
    exported(CASE, store)
    module = build_module(CASE)
    with torch.no_grad():
        module[0].weight[0, 0] += 1e-6
    assert exported(CASE, store, module=module).why == ("weight 0.weight changed",)


def test_a_module_that_a_test_edited_is_no_longer_what_was_exported(store):
    made, module = exported(CASE, store), build_module(CASE)
    drawn = module_inputs(CASE, module, 0)
    assert not was_edited(made, module, drawn)
    with torch.no_grad():
        module[0].weight[0, 0] += 1e-6
    assert was_edited(made, module, drawn)


def test_a_failed_export_leaves_nothing_behind_and_is_tried_again(store):
    class Branch(nn.Module):
        def forward(self, x):
            return torch.linalg.matrix_exp(x)

    case = ModelCase("branch", Branch, lambda seed: (torch.ones(2, 2),), exporter="torchscript")
    for _ in range(2):
        assert isinstance(export(case, cache=store), ExportFailure)
    assert sorted(path.name for path in store.root.rglob("*") if path.is_file()) == [".gitignore", "gate.lock"]


def test_a_model_that_cannot_be_compared_between_runs_is_exported_every_time_with_the_reason(store):
    def build():
        module = nn.Linear(4, 4)
        module.lock = threading.Lock()
        return module

    case = ModelCase("locked", build, inputs, exporter="torchscript")
    for _ in range(2):
        result = exported(case, store)
        assert not result.cached
        assert result.why[0].startswith("cannot be compared between runs: model.lock: a _thread.lock")
        assert store.root not in result.path.parents


def test_a_folder_that_cannot_be_used_exports_all_the_same_and_says_so(tmp_path):
    (tmp_path / "cache").write_text("")
    result = exported(CASE, Store(tmp_path / "cache"))
    assert result.model.graph
    assert result.why[-1].startswith("results are not kept (")
    assert str(tmp_path / "cache") in result.why[-1]


def test_an_edit_of_the_report_leaves_exports_alone_and_one_of_the_exporter_does_not(monkeypatch):
    from pytest_modelcheck.store import environment

    def files():
        found = set()

        def read_bytes(path):
            found.add(path.as_posix())
            return b""

        monkeypatch.setattr(environment.Path, "read_bytes", read_bytes)
        own_code.cache_clear()
        own_code("export")
        monkeypatch.undo()
        own_code.cache_clear()
        return {name.partition("/pytest_modelcheck/")[2] for name in found}

    seen = files()
    assert {"export/dynamo.py", "export/to_onnx.py", "calling/forward.py", "graph/files.py", "model_case.py"} <= seen
    assert not [
        name for name in seen if name.split("/")[0] in ("report", "gates", "check", "passes", "store", "plugin.py")
    ]


PROCESS = """
import pathlib, sys, torch
from torch import nn
from pytest_modelcheck import ModelCase
from pytest_modelcheck.export import export
from pytest_modelcheck.store import Store

def build():
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU())

def inputs(seed):
    return {"input": torch.ones(2, 4)}

case = ModelCase("shared", build, inputs, exporter="torchscript")
result = export(case, cache=Store(pathlib.Path(sys.argv[1])))
result.model
print(result.cached)
"""


def test_two_processes_at_once_make_the_export_once_and_both_get_a_whole_file(tmp_path):
    script = tmp_path / "both.py"
    script.write_text(PROCESS)
    command = [sys.executable, str(script), str(tmp_path / "cache")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) for _ in range(2)]
    said = sorted(process.communicate()[0].strip() for process in processes)
    assert [process.returncode for process in processes] == [0, 0]
    assert said == ["False", "True"]
