"""What the comparison on shipped files calls wrong, and what it feeds them with."""

import numpy as np
import onnx
import pytest

from benchmarks.peers.feeding import drawn
from benchmarks.peers.results import PEERS
from benchmarks.peers.worker import OURS
from benchmarks.shipped_files import verdict
from pytest_modelcheck.runtimes import open_session
from tests.passes.fusing_checks import make

RIGHT = {"nodes": 10, "right": True, "bytes": 1000, "scaled": 0.0}


def results(ours=None, peer=None, again=None):
    made = {name: {**RIGHT, "nodes": 12} for name in PEERS}
    made |= {"onnxsim": {**RIGHT, "nodes": 12, **(peer or {})}}
    return {**made, OURS: {**RIGHT, **(ours or {})}, "again": {"nodes": 10, **(again or {})}}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (results(), ""),
        (results(peer={"nodes": 9}), "behind onnxsim"),
        (results(peer={"nodes": 9, "right": False}), ""),
        (results(peer={"nodes": 9, "bytes": 1000 + (1 << 16)}), ""),
        (results(peer={"nodes": 9, "bytes": 999 + (1 << 16)}), "behind onnxsim"),
        (results(ours={"right": False, "scaled": 0.5}), "wrong: 0.5"),
        (results(ours={"error": "RuntimeError: no"}), "failed: RuntimeError: no"),
        (results(again={"nodes": 9}), "second run: 9"),
    ],
)
def test_a_file_is_wrong_where_a_peer_is_ahead_or_a_second_run_is(found, said):
    assert verdict(found) == said


@pytest.mark.parametrize(("length", "sizes"), [(160, [1, 1]), (1, [2, 1])])
def test_inputs_are_drawn_in_sizes_that_the_file_takes(tmp_path, length, sizes):
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[n] x) => (float[m] y) { y = Add(x, w) }'
    onnx.save(make(text, w=np.ones(length, np.float32)), tmp_path / "small.onnx")
    feeds = drawn(open_session(tmp_path / "small.onnx"), 2)
    assert [feed["x"].size for feed in feeds] == sizes


def test_a_file_that_takes_nothing_that_is_drawn_is_said(tmp_path):
    text = '<ir_version: 8, opset_import: ["": 17]> g (float[n] x) => (float[7] y) { y = Reshape(x, s) }'
    onnx.save(make(text, s=np.array([7])), tmp_path / "small.onnx")
    with pytest.raises(RuntimeError, match="no drawn input is taken: "):
        drawn(open_session(tmp_path / "small.onnx"), 2)
