"""Our pipeline beside onnxslim, onnxsim, onnxoptimizer and onnxscript, on the same exported files.

    python -m benchmarks.passes_against_peers                  # everything; hours on two cores, but it can be stopped
    python -m benchmarks.passes_against_peers --only bert-base # files whose name holds this, then the table of all
    python -m benchmarks.passes_against_peers --table          # the table of what was measured so far
    python -m benchmarks.passes_against_peers --write          # ... and into docs/

Every optimizer runs in a process of its own, from file to file. Its result is right if onnxruntime, its own optimizer
off, loads it and gives the outputs of the exported file: to 1e-5 of the largest value, on seeded inputs of three
distributions and three masks. Nodes are counted without Constants, in the graph, its subgraphs and its functions.
Results are kept in .modelcheck/peers, by the content of the exported file and the version of the optimizer.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.peers.cases import peer_cases
from benchmarks.peers.growing import growth
from benchmarks.peers.measuring import measure
from benchmarks.peers.results import ROOT, read, write
from benchmarks.peers.table import compact, full, one_line

GROWTH = "linear"
BEGIN, END = "<!-- passes-against-peers: begin -->", "<!-- passes-against-peers: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME", help="files whose name holds this; repeatable")
    parser.add_argument("--again", action="store_true", help="forget what is stored, and export anew")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument(
        "--write", action="store_true", help="write the tables into docs/zoo.md and docs/passes_against_peers.md"
    )
    parser.add_argument("--limit", type=float, default=600, metavar="SECONDS", help="that one optimizer may take")
    arguments = parser.parse_args()
    cases = peer_cases()
    if not arguments.table:
        for case in cases:
            if arguments.only is None or any(name in case.label for name in arguments.only):
                started = time.perf_counter()
                results = measure(case, again=arguments.again, limit=arguments.limit)
                print(f"{one_line(case.label, results)}  [{time.perf_counter() - started:.0f} s]", flush=True)
        if arguments.only is None or GROWTH in arguments.only:
            write(GROWTH, growth())
    stored = [results for case in cases if "exported" in (results := read(case.label))]
    failures = {case.label: results["failure"] for case in cases if "failure" in (results := read(case.label))}
    page = full(stored, failures, read(GROWTH), files=len(cases))
    print(page)
    if arguments.write:
        (ROOT / "docs" / "passes_against_peers.md").write_text(page, encoding="utf-8")
        _replace_between_markers(ROOT / "docs" / "zoo.md", compact(stored, read(GROWTH), files=len(cases)))


def _replace_between_markers(path: Path, text: str) -> None:
    before, found, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise SystemExit(f"{path} has no markers {BEGIN} and {END}")
    path.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
