"""Files that nobody vouched for, through the commands and a check of a file: what crashes, hangs, fills the memory.

    python -m benchmarks.hostile_files --built             # every file of tests/hostile/built.py
    python -m benchmarks.hostile_files --mutants 5000      # byte mutants of sound models
    python -m benchmarks.hostile_files --mutants 1 --start 17 --runs optimize

A file that `inspect` refuses is refused by the others, which read it in the same way: they are left out then.
Prints a line for each run that went wrong: a traceback, over 60 s, over 4 x the file + 500 MiB, anything written by a
run that failed, control characters or commands of a CI log printed.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.built import FILES, HEAVY
from tests.hostile.mutants import mutant
from tests.hostile.running import RUNS, run_all, warm_up


def files(arguments: argparse.Namespace) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file that was asked for."""
    kinds = set()
    for name, make in FILES.items() if arguments.built else ():
        kind = name.partition(":")[0]
        if (
            arguments.only in name
            and not (arguments.light and name in HEAVY)
            and not (arguments.first and kind in kinds)
        ):
            kinds.add(kind)
            yield name, make()
    for number in range(arguments.start, arguments.start + arguments.mutants):
        yield mutant(number)


def _batches(items: Iterator[tuple[str, bytes]], size: int) -> Iterator[list[tuple[str, bytes]]]:
    while batch := list(itertools.islice(items, size)):
        yield batch


def main() -> int:
    """Returns 1 where a run went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--built", action="store_true", help="the built files")
    parser.add_argument("--light", action="store_true", help="without those that take seconds each")
    parser.add_argument("--first", action="store_true", help="one of each kind")
    parser.add_argument("--only", default="", help="built files whose name holds this")
    parser.add_argument("--mutants", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--runs", help=f"with commas between them; default: {', '.join(RUNS)}")
    arguments = parser.parse_args()
    wrong: Counter[str] = Counter()
    ran = accepted = 0
    slowest = 0.0
    started = time.monotonic()
    runs = arguments.runs.split(",") if arguments.runs else [*RUNS]
    warm_up(runs)
    with tempfile.TemporaryDirectory() as place:
        for batch in _batches(files(arguments), 1 if arguments.built else 100):
            made = run_all([content for _, content in batch], runs, Path(place))
            for (name, _), results in zip(batch, made, strict=True):
                for run, done in results:
                    ran, accepted = ran + 1, accepted + (done.status in (0, 1))
                    slowest = max(slowest, done.seconds)
                    if done.wrong:
                        wrong[done.wrong.splitlines()[0][:80]] += 1
                        print(f"{run}: {name!a}: {done.wrong[:300]}", flush=True)
    for kind, count in wrong.most_common():
        print(f"{count:6} {kind}")
    print(f"{ran} runs, {accepted} of them accepted the file, {wrong.total()} went wrong, the slowest {slowest:.1f} s, "
          f"{time.monotonic() - started:.0f} s in all")  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
