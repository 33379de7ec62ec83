"""Random graphs through the pipelines of all targets, for as long as one likes; `tests/passes/test_fuzz.py` runs 300.

    python -m benchmarks.fuzz                      # from seed 300 on, until it is stopped
    python -m benchmarks.fuzz --start 1000 --count 10000
    python -m benchmarks.fuzz --start 1234 --count 1     # one seed again
    python -m benchmarks.fuzz --operators                # quantized, recurrent, looped ... ones as well

It prints each seed that fails, and at the end how many graphs ran in which place for which target.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import sys

from tests.passes.fuzzing import check_seed
from tests.passes.random_operators import OPERATORS
from tests.passes.random_steps import STEPS


def main() -> int:
    """Returns 1 where a seed failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=int, default=300)
    parser.add_argument("--count", type=int, help="default: no end")
    parser.add_argument("--operators", action="store_true", help="draw from tests/passes/random_operators.py")
    arguments = parser.parse_args()
    seeds = itertools.count(arguments.start)
    ran: collections.Counter[str] = collections.Counter()
    failed = 0
    try:
        for seed in seeds if arguments.count is None else itertools.islice(seeds, arguments.count):
            try:
                ran[check_seed(seed, OPERATORS if arguments.operators else STEPS)] += 1
            except Exception as error:  # whatever broke is what the fuzzer looks for; its seed is printed
                failed += 1
                print(f"seed {seed}: {type(error).__name__}: {error}"[:1000], flush=True)
    except KeyboardInterrupt:
        pass
    for where, count in sorted(ran.items()):
        print(f"{count:7} {where or 'drew nothing that runs'}")
    print(f"{failed:7} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
