"""No right peer leaves fewer nodes of a random graph; ``python -m benchmarks.random_against_peers`` goes on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.passes import beside_peers

# fmt: off
SEEDS = (
    10, 21, 28, 50, 71, 75, 97, 98, 170, 174, 179, 193, 208, 212, 287, 319, 357, 370, 655, 1135, 1248, 1745, 2040, 2331,
    2366, 2589, 2898,
)
# fmt: on
"""Of 3,400 graphs, those of which a peer once left fewer nodes; in 2040 it takes a Softmax over one element for 1."""


def test_no_right_peer_leaves_fewer_nodes() -> None:
    # In a process of its own: at its end onnxsim tells of leaks, behind pytest's last line.
    command = [sys.executable, "-m", "benchmarks.random_against_peers", *map(str, SEEDS)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.stdout == f"{len(SEEDS)} graphs compared, a right peer leaves fewer nodes of 0; 0 ended the process\n"


def test_a_right_peer_with_fewer_nodes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside_peers, "PEERS", {"peer": beside_peers.optimize})
    monkeypatch.setattr(beside_peers, "optimize", lambda model: model)
    assert beside_peers.behind(10) == (11, {"peer": 3})
