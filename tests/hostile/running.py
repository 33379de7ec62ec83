"""Runs the commands on a file that nobody vouched for, each in a forked process, and says what went wrong."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pytest_modelcheck.errors import ModelCheckError
from tests.hostile.bases import bases

SECONDS = 60
MEMORY = 500 * 2**20
"""What a run may take beyond four times the file."""


@dataclass(frozen=True)
class Run:
    """What one run did.

    Attributes:
        status: The exit status; None where there was none.
        wrong: What must not be; empty for a good run.
        memory: Bytes beyond what the process had before.
        said: What it printed.
    """

    status: int | None
    wrong: str
    memory: int
    seconds: float
    said: str


def _command(*words: str) -> Callable[[Path, Path], int]:
    def run(file: Path, folder: Path) -> int:
        from pytest_modelcheck.__main__ import main

        places = {"FILE": str(file), "OUT": str(folder / "out.onnx"), "SOUND": str(file.with_name("sound.onnx"))}
        return main([places.get(word, word) for word in words])

    return run


def _in_a_test(file: Path, folder: Path) -> int:
    """What ``assert modelcheck == modelcheck_snapshot`` and the gates of a file ask, written as snapshots write it."""
    from pytest_modelcheck import ModelCase
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.result import FindingError
    from pytest_modelcheck.snapshots.kinds import KINDS

    check = ModelCheck(ModelCase.from_onnx(file), cache=folder / "cache")
    try:
        for name in check.lockable:
            kind = next(kind for kind in KINDS if kind.name == name)
            kind.render(getattr(check, name))
        check.graphs.op_counts("optimized")
        check.graphs.hierarchy  # noqa: B018 - it is computed when it is asked for
        check.summary()
    except (FindingError, ModelCheckError) as error:
        print(error)
        return 2
    return 0


RUNS: dict[str, Callable[[Path, Path], int]] = {
    "inspect": _command("inspect", "FILE"),
    "optimize": _command("optimize", "FILE", "OUT"),
    "diff": _command("diff", "SOUND", "FILE"),
    "attribute": _command("attribute", "FILE"),
    "hierarchy": _command("hierarchy", "FILE"),
    "strip": _command("strip", "FILE", "OUT"),
    "in a test": _in_a_test,
}
READER = "inspect"
"""A file that it refuses is refused by the others: they read it in the same way."""


def warm_up(names: Iterable[str]) -> None:
    """Import what these runs need: a forked process has it already."""
    with tempfile.TemporaryDirectory() as place:
        for name in names:
            done = run_on(name, bases()["net"], Path(place), fork=False)
            assert not done.wrong, f"{name}: {done}"
    gc.collect()
    gc.freeze()  # what is never collected is never copied into a forked process


def run_on(name: str, content: bytes, place: Path, *, fork: bool = True) -> Run:
    """Let one of `RUNS` read `content`."""
    file = _files(content, place)
    with tempfile.TemporaryDirectory(dir=place) as folder:
        done = _forked(name, file, Path(folder)) if fork else _here(name, file, Path(folder))
        return _judged(done, len(content), Path(folder))


def run_all(contents: Sequence[bytes], names: Sequence[str], place: Path) -> Iterator[list[tuple[str, Run]]]:
    """Let `RUNS` read each content, many in one forked process: forking costs more than most runs.

    A content on which a run goes wrong, or ends the process, is given to each run again, in a process of its own.

    Yields:
        One list for each content: the runs, up to the one that refused it for all.
    """
    waiting = list(contents)
    while waiting:
        done = _together(waiting, names, place)
        for content, results in zip(waiting, done, strict=False):
            yield results if not any(run.wrong for _, run in results) else _apart(content, names, place, results)
        waiting = waiting[len(done) :]
        if waiting and not (done and _is_too_large(done[-1])):  # the process ended at this one
            yield _apart(waiting.pop(0), names, place, [])


def _is_too_large(results: Sequence[tuple[str, Run]]) -> bool:
    return any(run.wrong.endswith(" MiB") for _, run in results)


def _apart(content: bytes, names: Sequence[str], place: Path, together: list[tuple[str, Run]]) -> list[tuple[str, Run]]:
    results = []
    for name in names:
        results.append((name, run_on(name, content, place)))
        if name == READER and results[-1][1].status == 2:
            break
    if not any(run.wrong for _, run in results):  # only behind others: what was seen there counts
        return together or [(names[0], Run(None, "the process ended, and does not when it is repeated", 0, 0.0, ""))]
    return results


def _together(contents: Sequence[bytes], names: Sequence[str], place: Path) -> list[list[tuple[str, Run]]]:
    """As many as one process can read: it ends after the first that takes too much memory, or at a crash."""
    found = place / "found.jsonl"
    found.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        try:
            with found.open("w") as log:
                _read_many(contents, names, place, log)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    lines = found.read_text().splitlines(keepends=True)
    return [[(name, Run(**run)) for name, run in json.loads(line)] for line in lines if line.endswith("\n")]


def _read_many(contents: Sequence[bytes], names: Sequence[str], place: Path, log: TextIO) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    before = _own_memory()
    said = place / "said.txt"
    for content in contents:
        file = _files(content, place)
        results = []
        for name in names:
            used = resource.getrusage(resource.RUSAGE_SELF)
            resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + SECONDS, -1))
            started = time.monotonic()
            with tempfile.TemporaryDirectory(dir=place) as folder:
                code = _printing(name, file, Path(folder), said)
                text = said.read_text(encoding="utf-8", errors="surrogateescape")
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
                wrong = _raised(text) if code == _RAISED else ""
                run = Run(code, wrong, memory, time.monotonic() - started, text)
                results.append((name, dataclasses.asdict(_judged(run, len(content), Path(folder)))))
            if name == READER and code == 2:
                break
        log.write(json.dumps(results) + "\n")
        log.flush()
        if _is_too_large([(name, Run(**run)) for name, run in results]):
            return  # the highest use stays with the process: all after this one would look like it


def _files(content: bytes, place: Path) -> Path:
    file = place / "file.onnx"
    file.write_bytes(content)
    (place / "sound.onnx").write_bytes(bases()["net"])
    return file


def _judged(done: Run, size: int, folder: Path) -> Run:
    """The run with what must not be, beside what it has already."""
    written = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file() and each.suffix == ".onnx")
    wrong = done.wrong
    if not wrong and done.status not in (0, 1, 2):
        wrong = f"exit status {done.status}"
    if not wrong and done.status == 2 and written:
        wrong = f"{written} bytes written by a run that failed"
    if not wrong and done.memory > 4 * size + MEMORY:
        wrong = f"{done.memory / 2**20:.0f} MiB"
    if not wrong and any(ord(letter) < 32 and letter not in "\n\t" for letter in done.said):
        wrong = f"control characters printed: {done.said[:200]!r}"
    if not wrong and any(line.lstrip().startswith("::") for line in done.said.splitlines()):
        wrong = f"a command of a CI log printed: {done.said[:200]!r}"
    return dataclasses.replace(done, wrong=wrong)


def _here(name: str, file: Path, folder: Path) -> Run:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return Run(RUNS[name](file, folder), "", 0, 0.0, "")


def _forked(name: str, file: Path, folder: Path) -> Run:
    said = file.with_name("said.txt")
    started = time.monotonic()
    child = os.fork()
    if not child:
        _run_and_leave(name, file, folder, said)
    _, status, usage = os.wait4(child, 0)
    text = said.read_text(encoding="utf-8", errors="surrogateescape")
    memory = usage.ru_maxrss * 1024 - _own_memory()
    seconds = time.monotonic() - started
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        wrong = f"over {SECONDS} s" if number == signal.SIGXCPU else f"killed by {signal.Signals(number).name}"
        return Run(None, wrong, memory, seconds, text)
    code = os.WEXITSTATUS(status)
    wrong = _raised(text) if code == _RAISED else ""
    return Run(code, wrong, memory, seconds, text)


def _raised(text: str) -> str:
    """Where an exception came from, in our code, and what it was."""
    places = re.findall(r'pytest_modelcheck/(\S+)", line (\d+)', text)
    what = next(
        (line for line in text.splitlines() if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)), text[-200:]
    )
    return f"{':'.join(places[-1]) if places else '?'}: {what}"


_RAISED = 99
_ADDRESS_SPACE = 24 * 2**30


def _run_and_leave(name: str, file: Path, folder: Path, said: Path) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))  # of the processor: others may need it too
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    os._exit(_printing(name, file, folder, said))


def _printing(name: str, file: Path, folder: Path, said: Path) -> int:
    """The exit status of a run whose output, C's included, goes into the file `said`."""
    output = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - the next run has its own
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    try:
        return RUNS[name](file, folder)
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else 1
    except BaseException:  # the whole point is to see it
        traceback.print_exc()
        return _RAISED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _own_memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
