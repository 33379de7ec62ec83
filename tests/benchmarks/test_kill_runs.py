"""Runs that are killed leave every kept result whole, and nothing else."""

import subprocess
import sys
from pathlib import Path


def test_killed_runs_lose_nothing_and_leave_nothing_behind():
    command = [sys.executable, "-m", "benchmarks.kill_runs", "--kills", "2"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "2 kills: 0 half-written, 0 lost, 0 litter"), done.stderr
