"""A runtime in a process of its own: what it prints, writes, leaks or breaks stays there.

The worker reads one request a line from its standard input and answers each with one line on its standard output, both
JSON; arrays lie as raw bytes in a file beside, one after the other, and the answer to a run says the seconds of the run
alone. It runs in a folder that is removed with it, gets no variable of Python's, and is killed, with the processes that
it started, past a limit of time or memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pytest_modelcheck.runtimes.environments import Environment
from pytest_modelcheck.runtimes.models import SessionError, reason
from pytest_modelcheck.runtimes.ports import Array

SECONDS = 600.0
"""For one request: a converter that takes longer hangs."""
BYTES = 8 << 30
"""Resident, of the worker and what it started: the largest converter seen takes 4 GB for a BERT-base."""
WORKERS = Path(__file__).parent / "workers"
_TICK = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def python_worker(environment: Environment, runtime: str) -> list[str]:
    """The command of a worker in Python, for `Worker`.

    Args:
        environment: Where its packages are.
        runtime: Its file in `workers/`.
    """
    return [str(environment.interpreter), "-I", str(WORKERS / "serve.py"), str(WORKERS / runtime)]


def running_time() -> float:
    """Seconds by the wall clock, without those that runs of workers took beside the run itself, for transfers."""
    return time.perf_counter() - _aside.seconds


@dataclass(slots=True)
class _Aside:
    seconds: float = 0.0


_aside = _Aside()


class Worker:
    """A process that answers requests.

    Args:
        command: Interpreter, script and its arguments.
        name: What errors call the model.
        label: What they call the runtime.
        seconds, limit: Time of one request, and memory in bytes.
    """

    def __init__(
        self, command: Sequence[str], name: str, label: str, *, seconds: float = SECONDS, limit: int = BYTES
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="modelcheck-runtime-"))
        self._name, self._label, self._seconds, self._limit = name, label, seconds, limit
        with open(self.folder / "said", "wb") as said:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                start_new_session=True,
            )
        self._close = weakref.finalize(self, _end, self._process, self.folder)

    def load(self, **request: Any) -> dict[str, Any]:
        """What the worker answers to ``"load"``.

        Raises:
            SessionError: with its reason, if it cannot load the model.
        """
        try:
            return self._ask({"do": "load", **request}, "cannot load the model")
        except SessionError:
            self.close()  # what is kept of the error would keep the process
            raise

    def start(self, feeds: Mapping[str, Array]) -> Callable[[], list[Array]]:
        """`run` with these feeds, as `Session.start` gives it."""
        return partial(self.run, feeds)

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Outputs in the order of the graph.

        Raises:
            SessionError: if the run fails.
        """
        if not self._close.alive:
            raise SessionError(f"{self._name}: {self._label} failed to run the model: its process has ended before")
        began = time.perf_counter()
        described = []
        with open(self.folder / "feeds", "wb") as file:
            for name, array in feeds.items():
                file.write(np.ascontiguousarray(array).tobytes())
                described.append({"name": name, "dtype": array.dtype.name, "shape": array.shape})
        answer = self._ask({"do": "run", "feeds": described}, "failed to run the model")
        results = _arrays(self.folder / "results", answer["results"])
        _aside.seconds += time.perf_counter() - began - answer["seconds"]
        return results

    def close(self) -> None:
        """End the process and remove its folder."""
        self._close()

    def _ask(self, request: Mapping[str, Any], failed: str) -> dict[str, Any]:
        said = f"{self._name}: {self._label} {failed}: "
        try:
            answer = self._answer(request)
        except _NoAnswerError as error:
            self.close()
            raise SessionError(f"{said}{error}") from None
        if "error" in answer:
            named = (tuple(answer.get(key, ())) for key in ("operators", "where"))
            raise SessionError(said + reason(answer["error"]), *named)
        return answer

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        line = self._line().partition(b"\n")[0]
        if not line:
            raise _NoAnswerError(self._last_words())
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise _NoAnswerError(f"it wrote {line[:80]!r} where its answer belongs") from None
        return answer

    def _line(self) -> bytes:
        """What the worker writes up to the end of a line, within its limits; empty where it has ended."""
        pipe = self._process.stdout
        assert pipe is not None
        deadline, line = time.monotonic() + self._seconds, b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while b"\n" not in line:
                if selector.select(_TICK):
                    part = os.read(pipe.fileno(), 1 << 16)
                    if not part:
                        return b""
                    line += part
                    continue
                if time.monotonic() > deadline:
                    raise _NoAnswerError(f"it did not answer within {self._seconds:.0f} s")
                if (used := _resident(self._process.pid)) > self._limit:
                    raise _NoAnswerError(
                        f"it took {used / 2**30:.1f} GiB of memory, allowed are {self._limit / 2**30:.1f}"
                    )
        return line

    def _last_words(self) -> str:
        """Why the process ended, as far as it said."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        code = self._process.returncode
        ended = f"its process died of {signal.Signals(-code).name}" if code and code < 0 else "its process ended"
        lines = (self.folder / "said").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{ended}; it last said {lines[-1]!r}" if lines else ended


class _NoAnswerError(Exception):
    """Why there is none."""


def _arrays(path: Path, described: Sequence[Mapping[str, Any]]) -> list[Array]:
    """The arrays that lie one after the other in a file."""
    content, offset, arrays = path.read_bytes(), 0, []
    for each in described:
        dtype = np.dtype(each["dtype"])
        count = int(np.prod(each["shape"], dtype=np.int64))
        arrays.append(np.frombuffer(content, dtype, count, offset).reshape(each["shape"]).copy())
        offset += count * dtype.itemsize
    return arrays


def _resident(leader: int) -> int:
    """Bytes of the processes of the worker's session, on Linux; elsewhere 0."""
    total = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if os.getsid(int(entry.name)) == leader:
                    total += int(Path(entry.path, "statm").read_text().split()[1]) * _PAGE
    return total


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            assert pipe is not None
            pipe.close()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
