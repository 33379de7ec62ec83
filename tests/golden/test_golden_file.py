"""Golden files: what is written is read; what is damaged, newer, edited or proves nothing is refused."""

import json
import zipfile
from typing import Any

import numpy as np
import pytest
import torch

from pytest_modelcheck.calling.fingerprints import array_hash, tensor_hash
from pytest_modelcheck.golden import GoldenError, read_golden, write_golden
from pytest_modelcheck.golden.file import _packed, useless


def some(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape or (2, 3)).astype(np.float32)


def written(path, **changes):
    arguments = {
        "producer": "numpy, float64",
        "versions": {"numpy": "2.3.1"},
        "weights": {"w": some(9)},
        "inputs": {0: {"x": some(0)}, 1: {"x": some(1)}},
        "outputs": {0: {"y": some(2)}, 1: {"y": some(3)}},
        "note": "made by hand",
    }
    return write_golden(path, **{**arguments, **changes})


def test_what_is_written_is_read(tmp_path):
    golden = written(tmp_path / "a.npz")
    read = read_golden(tmp_path / "a.npz")
    assert (read.producer, read.versions, read.note) == ("numpy, float64", {"numpy": "2.3.1"}, "made by hand")
    assert read.seeds == (0, 1)
    assert read.weights == golden.weights == {"w": array_hash(some(9))}
    assert read.inputs[1] == {"x": array_hash(some(1))}
    np.testing.assert_array_equal(read.outputs[1]["y"], some(3), strict=True)


def test_the_same_content_gives_the_same_bytes_and_any_numpy_reads_them(tmp_path):
    written(tmp_path / "a.npz")
    written(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["outputs/1/0"], some(3))


def test_a_module_gives_its_own_hashes_and_tensors_are_taken(tmp_path):
    module = torch.nn.Linear(3, 2)
    outputs = {0: {"y": torch.arange(4.0).reshape(2, 2), "n": torch.tensor([1, 1])}}
    golden = written(tmp_path / "a.npz", weights=module, inputs={0: {"x": torch.ones(1)}}, outputs=outputs)
    assert golden.weights == {"weight": tensor_hash(module.weight), "bias": tensor_hash(module.bias)}
    assert read_golden(tmp_path / "a.npz").outputs[0]["n"].dtype == np.int64


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "bool", "complex64"])
def test_an_array_and_an_equal_tensor_have_one_hash(dtype):
    array = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    assert array_hash(array) == tensor_hash(torch.from_numpy(array))
    assert array_hash(array.T) == tensor_hash(torch.from_numpy(array).T)
    assert array_hash(array[0, 0]) == tensor_hash(torch.from_numpy(array)[0, 0])


NAN = some(2)
NAN[1, 2] = np.nan
USELESS: dict[str, dict[int, Any]] = {
    "output 'y' of seed 0 holds 1 NaN in 6 elements": {0: {"y": NAN}},
    "output 'y' of seed 0 is all zero": {0: {"y": np.zeros((2, 3), np.float32)}},
    "output 'y' of seed 0 is constant: all 6 elements are 0.5": {0: {"y": np.full((2, 3), 0.5)}},
    "output 'y' of seed 0 has 2 rows along its first axis that are all equal": {0: {"y": some(1, 1, 3)[[0, 0]]}},
    "output 'y' of seed 0 has no elements": {0: {"y": np.zeros((0, 3))}},
    "output 'y' is the same for all 2 seeds": {0: {"y": some(2)}, 1: {"y": some(2)}},
    "output 'z' of seed 0 is all zero": {0: {"y": some(2), "z": np.zeros(2)}},
    "output 'n' of seed 0 is constant: all 2 elements are 1": {0: {"n": np.ones(2, np.int64)}},
    "it holds no output": {0: {}},
}  # fmt: skip


@pytest.mark.parametrize("reason", USELESS)
def test_a_reference_that_proves_nothing_is_refused_when_written_and_when_read(tmp_path, reason):
    outputs = USELESS[reason]
    inputs = {seed: {"x": some(seed)} for seed in outputs}
    with pytest.raises(GoldenError) as error:
        written(tmp_path / "a.npz", inputs=inputs, outputs=outputs)
    assert str(error.value) == f"{tmp_path / 'a.npz'}: the reference proves nothing: {reason}"
    assert not (tmp_path / "a.npz").exists()


def test_rows_that_are_equal_along_the_last_axis_only_are_refused(tmp_path):
    rows = np.tile(some(1, 1, 3), (4, 1))[None]
    with pytest.raises(GoldenError, match="has 4 rows along its last axis that are all equal"):
        written(tmp_path / "a.npz", inputs={0: {"x": some(0)}}, outputs={0: {"y": rows}})


def test_a_useless_file_that_another_tool_wrote_is_refused_when_read(tmp_path):
    import dataclasses

    golden = written(tmp_path / "a.npz")
    zero = dataclasses.replace(golden, outputs={seed: {"y": np.zeros(3)} for seed in (0, 1)})
    assert len(list(useless(zero))) == 3
    (tmp_path / "b.npz").write_bytes(_packed(zero))
    with pytest.raises(GoldenError, match=r"b\.npz: the reference proves nothing: output 'y' of seed 0 is all zero; "):
        read_golden(tmp_path / "b.npz")


def test_one_useful_number_is_enough(tmp_path):
    written(tmp_path / "a.npz", inputs={0: {"x": some(0)}}, outputs={0: {"y": np.float32(0.5), "n": np.ones(2, int)}})
    assert read_golden(tmp_path / "a.npz").outputs[0]["y"] == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"producer": ""}, "a reference without producer cannot be trusted"),
        ({"versions": {}, "weights": {}}, "a reference without versions, weights cannot be trusted"),
        ({"inputs": {0: {"x": some(0)}}}, "inputs of seeds [0], outputs of seeds [0, 1]"),
        ({"inputs": {0: {"x": some(0)}, 1: {}}}, "no input for seed 1"),
        ({"weights": {"w": np.array(["a"])}}, "an array of dtype <U1 cannot be kept in an .npz; cast it to float32"),
        (
            {"outputs": {0: {"y": torch.ones(2, dtype=torch.bfloat16)}}},
            "an array of dtype bfloat16 cannot be kept in an .npz; cast it to float32",
        ),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path, changes, message):
    with pytest.raises(GoldenError) as error:
        written(tmp_path / "a.npz", **changes)
    assert message in str(error.value)


def rewritten(path, change):
    """The file with its header, or its members, changed by hand."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    header = json.loads(members["header.json"])
    change(header, members)
    if "header.json" in members:
        members["header.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


EDITS = {
    "is not a golden file: it has no header.json": lambda header, members: members.pop("header.json"),
    "is not a golden file: its format is 'other'": lambda header, members: header.update(format="other"),
    "has format version 2, this release reads up to 1": lambda header, members: header.update(format_version=2),
    "its header.json cannot be read: KeyError: 'producer'": lambda header, members: header.pop("producer"),
    "output 'y' is missing: there is no outputs/0/0.npy": lambda header, members: members.pop("outputs/0/0.npy"),
    "output 'y' was changed after the file was written": lambda header, members: members.update(
        {"outputs/0/0.npy": members["outputs/1/0.npy"]}
    ),
    "a reference without weights cannot be trusted": lambda header, members: header.update(weights={}),
}


@pytest.mark.parametrize("message", EDITS)
def test_a_file_that_was_edited_is_refused(tmp_path, message):
    written(tmp_path / "a.npz")
    rewritten(tmp_path / "a.npz", EDITS[message])
    with pytest.raises(GoldenError) as error:
        read_golden(tmp_path / "a.npz")
    assert str(error.value) == f"{tmp_path / 'a.npz'}: {message}"


def test_a_damaged_file_is_refused_wherever_the_damage_is(tmp_path):
    written(tmp_path / "a.npz")
    content = (tmp_path / "a.npz").read_bytes()
    right = read_golden(tmp_path / "a.npz")
    for at in range(0, len(content), 5):
        (tmp_path / "b.npz").write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        try:
            read = read_golden(tmp_path / "b.npz")
        except GoldenError as error:
            assert "b.npz: " in str(error)  # noqa: PT017 - most places are refused, the others must read the same
            continue
        assert read.weights == right.weights
        assert all(np.array_equal(read.outputs[seed]["y"], right.outputs[seed]["y"]) for seed in right.seeds)
    for length in (0, 10, len(content) // 2, len(content) - 1):
        (tmp_path / "b.npz").write_bytes(content[:length])
        with pytest.raises(GoldenError, match="is damaged, or no"):
            read_golden(tmp_path / "b.npz")
    with pytest.raises(GoldenError, match=r"gone\.npz: there is no such file"):
        read_golden(tmp_path / "gone.npz")
