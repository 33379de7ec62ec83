"""In workers, torch computes on the worker's share of the cores."""

import os

import pytest
import torch

from pytest_modelcheck.check.settings import own_cores, share_cores

pytestmark = pytest.mark.usefixtures("forked_python")


@pytest.fixture
def two_threads(monkeypatch):
    """Torch with two threads, as it starts on two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    yield monkeypatch
    torch.set_num_threads(before)


def test_a_worker_takes_its_share(two_threads):
    two_threads.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    share_cores()
    assert (torch.get_num_threads(), own_cores()) == (1, 1)


def test_one_worker_takes_all_cores(two_threads):
    two_threads.setenv("PYTEST_XDIST_WORKER_COUNT", "1")
    share_cores()
    assert torch.get_num_threads() == 2


def test_a_run_without_workers_is_left_alone(two_threads):
    torch.set_num_threads(3)
    share_cores()
    assert torch.get_num_threads() == 3


def test_the_users_own_number_stays(two_threads):
    two_threads.setenv("PYTEST_XDIST_WORKER_COUNT", "2")
    two_threads.setenv("OMP_NUM_THREADS", "2")
    share_cores()
    assert torch.get_num_threads() == 2


def test_fewer_threads_stay_fewer(two_threads):
    two_threads.setenv("PYTEST_XDIST_WORKER_COUNT", "1")
    torch.set_num_threads(1)
    share_cores()
    assert torch.get_num_threads() == 1


def test_a_worker_of_a_run_shares(pytester, two_threads):
    pytester.makepyfile(
        """
        import pytest
        import torch
        from pytest_modelcheck import ModelCase
        from pytest_modelcheck.check.settings import own_cores

        @pytest.mark.parametrize("model_case", [ModelCase("relu", torch.nn.ReLU, lambda seed: (torch.ones(2),))])
        def test_it(modelcheck):
            assert torch.get_num_threads() == own_cores() == 1
        """
    )
    result = pytester.runpytest_subprocess("--modelcheck", "-n", str(os.cpu_count()), "-q")
    result.assert_outcomes(passed=1)
