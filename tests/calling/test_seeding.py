"""A block under a seed: what torch draws in it is of the seed, and afterwards everything is as before."""

import torch

from pytest_modelcheck.calling import seeded


def test_what_is_drawn_is_what_torch_draws_under_the_seed():
    with seeded(3):
        drawn = torch.rand(4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        assert torch.equal(drawn, torch.rand(4))


def test_the_random_state_is_as_it_was():
    before = torch.get_rng_state()
    with seeded(3):
        torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)


def test_where_there_is_an_accelerator_its_seed_is_set_too(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch, "manual_seed", asked.append)
    with seeded(3):
        pass
    assert asked == [3]


def test_nothing_is_queued_for_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    queued = len(torch.cuda._queued_calls)
    with seeded(3):
        pass
    assert len(torch.cuda._queued_calls) == queued
