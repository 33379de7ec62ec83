"""The worst input of a failed sweep is kept, and one command shows the difference again."""

import contextlib
import dataclasses
import json
import subprocess
import sys

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.__main__ import main
from pytest_modelcheck.accuracy import Subject, Tolerances, assess, standard_stages
from pytest_modelcheck.accuracy.replay import Replay, ReplayError, read_replay, run_replay, save_replay, versions
from pytest_modelcheck.accuracy.replay_script import write_script
from pytest_modelcheck.calling import build_module, module_inputs
from pytest_modelcheck.export import export
from pytest_modelcheck.graph.files import save_model
from pytest_modelcheck.runtimes import How
from pytest_modelcheck.store import Store


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.last(x)


@pytest.fixture
def assessed():
    """An assessment whose optimized graph has a wrong weight, with its store in a folder."""
    return _assessed


@pytest.fixture
def failed(tmp_path):
    """The report of an assessment that failed, and its replay file."""
    report = _assessed(tmp_path)
    (file,) = tmp_path.glob("replay-*/net-torchscript-optimized.npz")
    return report, file


def _assessed(folder):
    case = ModelCase("net", Net, lambda seed: {"x": torch.randn(2, 4)}, exporter="torchscript")
    module = build_module(case)
    artifact = export(case, module=module)
    optimized = artifact.model
    value = optimized.graph.initializers["last.weight"]
    value.const_value = ir.tensor(value.const_value.numpy() * np.float32(1.1), name=value.name)
    subject = Subject(
        case=case, module=lambda: contextlib.nullcontext(module), exported=artifact.model, optimized=optimized
    )
    stages = standard_stages(case, module, artifact.path, optimized)
    return assess(stages, lambda seed: module_inputs(case, module, seed), subject, seeds=range(3), store=Store(folder))


def test_the_finding_names_the_command_and_the_command_shows_the_same_difference(failed, capsys):
    report, file = failed
    (finding,) = [finding for finding in report.findings if finding.subject == "output 'output_0'"]
    assert finding.verdict is Verdict.FAIL
    assert f"Run the worst input again: python -m pytest_modelcheck replay {file}" in finding.next
    replay, comparison = run_replay(file)
    pair = report.pair("optimized")
    assert replay.context == f"optimized against exported, seed {pair.worst_seed}"
    assert comparison.max_abs == pair.worst.max_abs
    assert main(["replay", str(file)]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith(f"net: optimized against exported, seed {pair.worst_seed}\noutput 'output_0' float32[2, 3]")
    for word in (
        "over tolerance",
        "max ",
        "mean ",
        "p99 ",
        "cosine ",
        "SNR ",
        "top-1 agreement",
        "|difference| <= max",
    ):
        assert word in shown


def test_figures_for_machines(failed, capsys):
    _, file = failed
    assert main(["replay", str(file), "--json"]) == 1
    figures = json.loads(capsys.readouterr().out)
    assert figures["passed"] is False
    assert figures["outputs"][0]["status"] == "over tolerance"
    assert figures["replay"]["candidate"] == "optimized"


def test_other_tolerances_judge_the_kept_outputs(failed, capsys):
    _, file = failed
    assert main(["replay", str(file), "--rtol=0.2"]) == 0
    assert main(["replay", str(file), "--rtol=0.01"]) == 1
    capsys.readouterr()
    assert main(["replay", str(file), "--atol=0.2", "--rtol=0"]) == 1
    assert "atol 0.2 hides a change of 0.1 % of this output" in capsys.readouterr().out
    assert main(["replay", str(file), "--atol=-1"]) == 2
    assert "error: " in capsys.readouterr().err


def test_a_script_without_this_package_shows_the_same_difference(failed, tmp_path, capsys):
    _, file = failed
    folder = tmp_path / "for" / "upstream"
    assert main(["replay", str(file), "--script", str(folder)]) == 1
    assert capsys.readouterr().err == f"run: python {folder / 'compare.py'}\n"
    assert sorted(path.name for path in folder.iterdir()) == ["arrays.npz", "compare.py", "model.onnx"]
    text = (folder / "compare.py").read_text()
    assert "pytest_modelcheck" not in text
    done = subprocess.run([sys.executable, folder / "compare.py"], capture_output=True, text=True, check=True)
    difference = run_replay(file)[1].max_abs
    assert f"output_0 float32[2, 3]: max |difference| {difference:.4g}, " in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"how": How(runtime="reference")}, "ran in reference under settings that a script of its own does not have"),
        ({}, "input 'x' is bfloat16, which numpy alone does not have"),
    ],
)
def test_what_a_script_cannot_hold_is_refused(failed, tmp_path, change, message):
    _, file = failed
    replay, _ = read_replay(file)
    changed = dataclasses.replace(replay, path=file.with_suffix(".onnx").name, **change)
    again = save_replay(file, changed, {"x": np.ones(2, ml_dtypes.bfloat16)}, {}, ir.load(replay.path))
    with pytest.raises(ReplayError, match=message):
        write_script(again, tmp_path / "script")


def test_it_is_an_entry_of_the_store_which_can_be_moved(failed, tmp_path):
    _, file = failed
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".busy",
        ".gitignore",
        file.parent.name,
        f"{file.parent.name}.json",
    ]
    moved = file.parent.rename(tmp_path / "elsewhere") / file.name
    assert main(["replay", str(moved)]) == 1


def test_a_folder_that_cannot_be_written_is_said_and_the_finding_stays(tmp_path, assessed):
    (tmp_path / "full").write_text("")
    report = assessed(tmp_path / "full")
    (finding,) = [finding for finding in report.findings if finding.subject == "output 'output_0'"]
    assert finding.verdict is Verdict.FAIL
    assert finding.where[-1].startswith("no replay file: results are not kept (choose another folder with ")


def test_a_repaired_candidate_replays_green(failed):
    _, file = failed
    replay, _ = run_replay(file)
    model = ir.load(replay.path)
    value = model.graph.initializers["last.weight"]
    value.const_value = ir.tensor(value.const_value.numpy() / np.float32(1.1), name=value.name)
    save_model(model, replay.path)
    assert main(["replay", str(file)]) == 0


def test_other_versions_are_said(failed, capsys):
    _, file = failed
    with np.load(file) as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays["header"]))
    header["replay"]["versions"]["onnxruntime"] = "1.0"
    np.savez(file, **{**arrays, "header": np.array(json.dumps(header))})
    main(["replay", str(file)])
    assert f"recorded with onnxruntime 1.0, now {versions()['onnxruntime']}" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_what_is_no_replay_file_is_one_error(tmp_path, capsys, content):
    file = tmp_path / "worst.npz"
    file.write_bytes(content)
    assert main(["replay", str(file)]) == 2
    assert f"error: {file}: is not a replay file" in capsys.readouterr().err


def test_a_missing_file_and_a_missing_model_are_named(failed, tmp_path, capsys):
    assert main(["replay", str(tmp_path / "none.npz")]) == 2
    assert "none.npz: no such file" in capsys.readouterr().err
    _, file = failed
    file.with_suffix(".onnx").unlink()
    with pytest.raises(ReplayError, match=r"its model .*net-torchscript-optimized.onnx is gone: run the test again"):
        run_replay(file)


@pytest.mark.parametrize(
    "array",
    [
        np.array([1.5, -2], ml_dtypes.bfloat16),
        np.array(["one", "zwei"], dtype=object),
        np.array(3.0, np.float32),
        np.array([True, False]),
        np.zeros((0, 2), np.int64),
    ],
)
def test_inputs_of_every_type_come_back_as_they_were(tmp_path, array):
    kind = {"object": "string", "float32": "float"}.get(array.dtype.name, array.dtype.name)
    shape = ",".join(map(str, array.shape))
    text = f"""<ir_version: 10, opset_import: ["" : 21]>
    g ({kind}[{shape}] x) => ({kind}[{shape}] y) {{ y = Identity(x) }}"""
    replay = Replay(
        model="m",
        reference="a",
        candidate="b",
        path=str(tmp_path / "m.onnx"),
        how=How(threads=2),
        seed=0,
        variant="zeros",
        tolerances=Tolerances(None, {"y": 0.1}),
        versions=versions(),
    )
    file = save_replay(tmp_path / "m.npz", replay, {"x": array}, {"y": array}, ir.from_onnx_text(text))
    read, comparison = run_replay(file)
    assert read == replay
    assert comparison.max_abs == 0.0
    assert comparison.outputs[0].dtype == str(array.dtype)


def test_the_command_is_part_of_the_command_line():
    shown = subprocess.run(
        [sys.executable, "-m", "pytest_modelcheck", "replay", "--help"], capture_output=True, text=True, check=True
    )
    assert "Run the worst input of a failed accuracy gate again" in shown.stdout
