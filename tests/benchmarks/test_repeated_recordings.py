"""Repeated recordings find nothing where nothing changed, and a change where there is one."""

import pytest
import torch

from benchmarks import repeated_recordings
from pytest_modelcheck import ModelCase


def vectors(seed):
    return {"input": torch.randn(2, 4, generator=torch.Generator().manual_seed(seed))}


@pytest.fixture
def recorded(monkeypatch):
    def build(epsilon=1e-5):
        return ModelCase("norm", lambda: torch.nn.LayerNorm(4, eps=epsilon), vectors, exporter="torchscript")

    monkeypatch.setattr(repeated_recordings, "cases", lambda everything: iter([build()]))
    record = repeated_recordings.record(False)
    return record, lambda *epsilon: monkeypatch.setattr(
        repeated_recordings, "cases", lambda everything: iter([build(*epsilon)])
    )


def test_the_same_model_is_green_and_its_text_is_the_same(recorded):
    record, _ = recorded
    threads = torch.get_num_threads()
    assert repeated_recordings.compare(record, 2, False) == {"norm, torchscript": []}
    assert torch.get_num_threads() == threads


def test_another_epsilon_is_red_in_both_directions(recorded):
    record, change = recorded
    change(1e-2)
    first, second, text = repeated_recordings.compare(record, 1, False)["norm, torchscript"]
    words = "the function changed, after the last module: in the code of (root) (LayerNorm): "
    assert (first[: len(words)], second[: len(words)]) == (words, words)
    assert text == "~"
