"""Random graphs through our pipeline, onnxsim and onnxslim: where does a right peer leave fewer nodes?

    python -m benchmarks.random_against_peers                  # seeds 0 to 999
    python -m benchmarks.random_against_peers --start 5000 --count 200
    python -m benchmarks.random_against_peers 10 21            # these seeds
    python -m benchmarks.random_against_peers --operators      # quantized, recurrent, looped ... ones as well

A peer is right where onnxruntime gives the same numbers, infinities and NaN among the inputs. Each seed with a right
peer ahead is printed. The graphs run in a process of their own, because a peer may crash or hang.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import sys
from typing import Any

from tests.passes.beside_peers import behind
from tests.passes.random_operators import OPERATORS
from tests.passes.random_programs import Steps
from tests.passes.random_steps import STEPS

_SECONDS = 60
"""That one graph may take."""


def _work(seeds: list[int], steps: Steps, results: Any) -> None:
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    for seed in seeds:
        results.put((seed, behind(seed, steps)))


def main() -> int:
    """Returns 1 where a right peer leaves fewer nodes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int, nargs="*")
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--operators", action="store_true", help="draw from tests/passes/random_operators.py")
    arguments = parser.parse_args()
    pending = arguments.seeds or list(range(arguments.start, arguments.start + arguments.count))
    steps = OPERATORS if arguments.operators else STEPS
    compared = ahead = crashed = 0
    while pending:
        results: Any = multiprocessing.Queue()
        process = multiprocessing.Process(target=_work, args=(pending, steps, results))
        process.start()
        try:
            while pending:
                seed, found = results.get(timeout=_SECONDS)
                pending = pending[1:]
                compared += found is not None
                if found is not None and found[1]:
                    ahead += 1
                    print(f"seed {seed}: ours {found[0]}, {found[1]}", flush=True)
        except queue.Empty:
            print(f"seed {pending[0]}: nothing within {_SECONDS} s", flush=True)
            pending, crashed = pending[1:], crashed + 1
        process.kill()
        process.join()
    print(f"{compared} graphs compared, a right peer leaves fewer nodes of {ahead}; {crashed} ended the process")
    return 1 if ahead else 0


if __name__ == "__main__":
    sys.exit(main())
