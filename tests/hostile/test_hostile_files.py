"""A sample of `benchmarks.hostile_files`: no file that nobody vouched for makes a command crash, hang or write."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.bases import bases
from tests.hostile.built import FILES
from tests.hostile.mutants import mutant
from tests.hostile.running import RUNS, run_all, run_on

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="each run is a forked process")


@pytest.mark.parametrize("files", [("--mutants", "150"), ("--built", "--light", "--first")], ids=["mutants", "built"])
def test_no_run_crashes_hangs_or_writes(files):
    command = [sys.executable, "-m", "benchmarks.hostile_files", *files, "--runs", "inspect,optimize,diff"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert " 0 went wrong" in done.stdout


def test_a_mutant_is_the_same_file_every_time_and_differs_from_its_model():
    assert mutant(7) == mutant(7)
    assert mutant(7) != mutant(8)
    assert all(mutant(number)[1] not in bases().values() for number in range(20))


def nothing(file, folder):
    return 0


def crashes_on_a(file, folder):
    if file.read_bytes() == b"a":
        os.kill(os.getpid(), signal.SIGSEGV)
    return 0


def crashes_behind_another(file, folder):
    SEEN.append(1)
    if len(SEEN) == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    return 0


SEEN: list[int] = []


@pytest.mark.parametrize(
    ("run", "wrong"),
    [
        (nothing, ["", "", ""]),
        (crashes_on_a, ["", "killed by SIGSEGV", ""]),
        (crashes_behind_another, ["", "the process ended, and does not when it is repeated", ""]),
        (lambda file, folder: {b"a": 3}.get(file.read_bytes(), 0), ["", "exit status 3", ""]),
        (lambda file, folder: len(bytearray(b"1") * 2**30) * 0 if file.read_bytes() == b"a" else 0, ["", "MiB", ""]),
    ],
)
def test_of_many_files_in_one_process_each_has_its_answer(monkeypatch, tmp_path, run, wrong):
    SEEN.clear()
    monkeypatch.setitem(RUNS, "planted", run)
    found = [results[0][1].wrong for results in run_all([b"1", b"a", b"3"], ["planted"], tmp_path)]
    assert [words.split()[-1] if "MiB" in words else words for words in found] == wrong


def test_there_are_two_hundred_built_files():
    assert len(FILES) > 200


def boom(file, folder):
    raise KeyError("boom")


def writes(file, folder):
    (folder / "left.onnx").write_bytes(b"12345")
    return 2


def prints(file, folder):
    print("\x1b[31mred")
    return 0


def commands(file, folder):
    print("a\n::error::b")
    return 0


@pytest.mark.parametrize(
    ("run", "wrong"),
    [
        (boom, "?: KeyError: 'boom'"),
        (writes, "5 bytes written by a run that failed"),
        (prints, r"control characters printed: '\x1b[31mred\n'"),
        (commands, "a command of a CI log printed: 'a\\n::error::b\\n'"),
        (lambda file, folder: 3, "exit status 3"),
        (lambda file, folder: 0, ""),
    ],
)
def test_what_must_not_be_is_seen(monkeypatch, tmp_path, run, wrong):
    monkeypatch.setitem(RUNS, "planted", run)
    found = run_on("planted", b"a file", tmp_path).wrong
    assert found == wrong


def test_a_gigabyte_for_a_small_file_is_seen(monkeypatch, tmp_path):
    monkeypatch.setitem(RUNS, "planted", lambda file, folder: len(bytearray(b"1") * 2**30) * 0)
    mebibytes, unit = run_on("planted", b"a file", tmp_path).wrong.split()
    assert unit == "MiB"
    assert 500 < float(mebibytes) < 1100  # pages that the child shares with its parent do not count
