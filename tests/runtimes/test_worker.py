"""A runtime in a process of its own: whatever it does ends in one typed error, and nothing of it stays."""

import gc
import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pytest_modelcheck.runtimes import SessionError, running_time
from pytest_modelcheck.runtimes.worker import Worker

ECHO = """
import json, os, subprocess, sys, time
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "load":
        exec(request["script"])
        print(json.dumps({"loaded": 1}), flush=True)
    else:
        os.replace("feeds", "results")
        print(json.dumps({"results": request["feeds"], "seconds": 100}), flush=True)
"""


@pytest.fixture
def worker(tmp_path):
    (tmp_path / "echo.py").write_text(ECHO)
    made = Worker([sys.executable, str(tmp_path / "echo.py")], "net", "Echo", seconds=20, limit=300 << 20)
    yield made
    made.close()


def refused(worker, script):
    """What loading says; the worker's process and folder must be gone then."""
    with pytest.raises(SessionError) as caught:
        worker.load(script=script)
    assert worker._process.poll() is not None
    assert not worker.folder.exists()
    return str(caught.value)


def test_arrays_of_every_type_and_shape_come_back_as_they_went(worker):
    dtypes = ("float32", "float16", "int64", "uint8", "bool")
    feeds = {dtype: np.arange(6).reshape(2, 3).astype(dtype) for dtype in dtypes}
    feeds |= {"scalar": np.array(2.5), "empty": np.zeros((0, 3), np.int32), "transposed": np.eye(3)[:, :2].T}
    worker.load(script="")
    for sent, received in zip(feeds.values(), worker.run(feeds), strict=True):
        assert received.dtype == sent.dtype
        assert np.array_equal(sent, received)


def test_a_run_is_timed_by_the_worker_alone(worker, monkeypatch):
    worker.load(script="")
    monkeypatch.setattr(time, "perf_counter", itertools.count().__next__)
    before = running_time()
    worker.run({"x": np.zeros(3)})
    assert running_time() - before == 100 + 2  # the clock is read before and after the run


def test_a_converter_that_hangs_is_stopped(tmp_path):
    (tmp_path / "echo.py").write_text(ECHO)
    worker = Worker([sys.executable, str(tmp_path / "echo.py")], "net", "Echo", seconds=0.5)
    assert refused(worker, "time.sleep(60)") == "net: Echo cannot load the model: it did not answer within 0 s"


def test_a_converter_that_takes_all_memory_is_stopped(worker):
    said = refused(worker, "held = bytearray(b'x') * (400 << 20); time.sleep(60)")
    assert said.startswith("net: Echo cannot load the model: it took 0.")
    assert said.endswith(" GiB of memory, allowed are 0.3")


def test_what_the_memory_of_its_own_children_is_counts(worker):
    child = "held = bytearray(b'x') * (400 << 20); import time; time.sleep(60)"
    assert "GiB of memory" in refused(worker, f"subprocess.run([sys.executable, '-c', {child!r}])")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("os.abort()", "its process died of SIGABRT"),
        ("sys.stderr.write('no more\\n'); os._exit(3)", "its process ended; it last said 'no more'"),
        ("raise KeyError('axis')", "its process ended; it last said \"KeyError: 'axis'\""),
        ("print('50 %', flush=True)", "it wrote b'50 %' where its answer belongs"),
    ],
)
def test_a_converter_that_breaks_says_how(worker, script, said):
    assert refused(worker, script) == f"net: Echo cannot load the model: {said}"
    with pytest.raises(SessionError, match="net: Echo failed to run the model: its process has ended before"):
        worker.run({})


def test_a_model_that_it_refuses_ends_it(worker):
    said = refused(worker, "print(json.dumps({'error': 'no axis\\n7'}), flush=True); time.sleep(60)")
    assert said == "net: Echo cannot load the model: no axis 7"


def test_what_it_writes_lies_in_its_own_folder(worker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(os.listdir())
    worker.load(script="open('litter', 'w').write('x'); os.makedirs('converted')")
    assert (worker.folder / "litter").is_file()
    assert set(os.listdir()) == before
    worker.close()
    assert not worker.folder.exists()


def test_it_ends_with_its_children_when_nobody_holds_it(tmp_path):
    (tmp_path / "echo.py").write_text(ECHO)
    worker = Worker([sys.executable, str(tmp_path / "echo.py")], "net", "Echo")
    child = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], stdin=subprocess.DEVNULL)"
    worker.load(script=f"open('child', 'w').write(str({child}.pid))")
    child, folder = int((worker.folder / "child").read_text()), worker.folder
    del worker
    gc.collect()
    assert not folder.exists()
    assert _ended(child)


def _ended(pid):
    for _ in range(100):
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or " Z " in state.read_text():
            return True
        time.sleep(0.05)
    return False


def test_a_run_that_is_interrupted_leaves_nothing(tmp_path):
    (tmp_path / "echo.py").write_text(ECHO)
    script = (
        "import sys\n"
        "from pytest_modelcheck.runtimes.worker import Worker\n"
        f"worker = Worker([sys.executable, {str(tmp_path / 'echo.py')!r}], 'net', 'Echo')\n"
        "print(worker.folder)\n"
        "raise KeyboardInterrupt\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert not Path(done.stdout.strip()).exists()
