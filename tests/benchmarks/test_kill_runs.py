"""Runs that are killed leave every kept result whole, and nothing else."""

from benchmarks.kill_runs import kill_runs


def test_killed_runs_lose_nothing_and_leave_nothing_behind(tmp_path):
    outcome = kill_runs(tmp_path / "project", 2, round_of=2)
    assert str(outcome) == "2 kills: 0 half-written, 0 lost, 0 litter", outcome
