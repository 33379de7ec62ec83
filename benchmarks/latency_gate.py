"""How often the latency gate is wrong: false alarms on identical graphs, and planted slowdowns it catches.

    python -m benchmarks.latency_gate                    # both conditions and models: about 20 minutes, can be stopped
    python -m benchmarks.latency_gate --only quiet-bert4 --for 200    # rows whose name holds this, for so many seconds
    python -m benchmarks.latency_gate --table            # the table of what was measured so far
    python -m benchmarks.latency_gate --write            # ... into docs/latency_gate.md

Conditions: `loaded`: 5 % planted, 30 s per verdict, another process keeps one core busy. `quiet`: 2 %, 60 s, nothing
of ours runs beside. What else ran on the machine is measured and stands in the table, in cores.

- identical: the graph against itself. A false alarm is the verdict fail, of the gate that the planted graph is asked
  with, and of one that allows no regression at all: the hardest bound, since the truth lies on its edge.
- planted: the graph with MatMuls added beside its own nodes, as many as take the share of its time, measured first.
  `really` is what the recorded rounds say they take, with its standard error. Caught is the verdict fail of a gate that
  allows half of the share.
- live: verdicts of the gate itself, `measure_paired` as `expect_latency` calls it, each from sessions of its own.
- replayed: 200 verdicts of 30 s and more, of six rows, would take hours. So rounds (two new sessions, timed against
  each other) are recorded for `--seconds`, by the function that the gate calls. Verdicts are made of recorded rounds,
  drawn with replacement in blocks of neighbours, by the loop that decides in the gate: its looks, its stopping rule,
  its budget, of which a drawn round takes the seconds that it took. What a replay cannot show is a state of the machine
  that lasted for the whole recording, and was not another one: for that the live verdicts stand beside it, and
  recordings are made in pieces, in several processes where the command is run several times.

Rounds are kept in .modelcheck/latency, by the processor, the versions and the code that measures and judges.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import torch

from benchmarks.latency.measuring import Foreign, Recorded, busy_cores, record, replayed
from benchmarks.latency.planting import CASES, slowed
from pytest_modelcheck import Verdict
from pytest_modelcheck.bounds import parse_bound
from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.latency import FreshSession, evaluate_regression, measure_paired
from pytest_modelcheck.runtimes import AT_DEFAULT_LEVEL, inputs_from_signature, open_session

ROOT = Path(__file__).resolve().parent.parent
STORE = ROOT / ".modelcheck" / "latency"
PAGE = ROOT / "docs" / "latency_gate.md"
BEGIN, END = "<!-- latency-gate: begin -->", "<!-- latency-gate: end -->"
PIECE_S = 20.0
"""Seconds of one recording: what is kept, and shown, of a run that is stopped."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What is planted, and what runs beside.

    Attributes:
        load: Processes that each keep one core busy.
        slowdown: Share of the time that the planted work takes.
        budget: Seconds per verdict.
    """

    name: str
    load: int
    slowdown: float
    budget: float

    @property
    def half(self) -> str:
        """The bound of the gate that has to catch it."""
        return f"<={50 * self.slowdown:g}%"


CONDITIONS = (Conditions("loaded", 1, 0.05, 30.0), Conditions("quiet", 0, 0.02, 60.0))


@dataclass(slots=True)
class Row:
    """What was measured of one model under one condition, as it is kept.

    Attributes:
        key, live_key: What rounds and live verdicts depend on; with another one they are measured anew.
        count: MatMuls that were planted; 0: not known yet.
        identical, planted: Recorded rounds.
        live: Verdict, seconds and ratio of each live verdict, by what was measured.
        foreign: Cores that other processes kept busy, of each piece.
    """

    key: str
    live_key: str
    count: int = 0
    identical: Recorded = field(default_factory=Recorded)
    planted: Recorded = field(default_factory=Recorded)
    live: dict[str, list[tuple[str, float, float]]] = field(default_factory=lambda: {"identical": [], "planted": []})
    foreign: list[float] = field(default_factory=list)


_MEASURING = ("rounds", "timing", "placement")
_JUDGING = ("judging", "statistics")


def key(*modules: str) -> str:
    """Of the processor, the versions, and the code of the planted work and of these modules."""
    digest = hashlib.sha256(f"{processor()} {os.cpu_count()} {version('onnxruntime')} {version('torch')}".encode())
    room = ROOT / "pytest_modelcheck" / "latency"
    for file in (*(room / f"{name}.py" for name in modules), ROOT / "benchmarks" / "latency" / "planting.py"):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def processor() -> str:
    """As Linux names it, else what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def read(name: str) -> Row:
    """What is kept of a row, or an empty one."""
    path = STORE / f"{name}.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    now = Row(key(*_MEASURING), key(*_MEASURING, *_JUDGING))
    if kept.get("key") != now.key:
        return now
    row = Row(**kept | {side: Recorded(**kept[side]) for side in ("identical", "planted")})
    if row.live_key != now.live_key:
        row.live_key, row.live = now.live_key, now.live
    return row


def keep(name: str, row: Row) -> None:
    STORE.mkdir(parents=True, exist_ok=True)
    scratch = STORE / f".{name}.json"
    scratch.write_text(json.dumps(asdict(row)))
    scratch.replace(STORE / f"{name}.json")


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much of a row there should be: seconds of recording of each side, live verdicts of each side."""

    seconds: float
    live: int


def steps(row: Row, conditions: Conditions, wanted: Wanted) -> Iterator[str]:
    """What is missing, one piece after the other."""
    if not row.count:
        yield "count"
    sides = ("identical", "planted")
    while short := [side for side in sides if sum(getattr(row, side).seconds) < wanted.seconds]:
        yield f"record {min(short, key=lambda side: sum(getattr(row, side).seconds))}"
    while missing := [side for side in sides if len(row.live[side]) < wanted.live]:
        yield f"live {min(missing, key=lambda side: len(row.live[side]))}"


def measure(name: str, case: str, conditions: Conditions, wanted: Wanted, until: float) -> None:
    """Add to a row until nothing is missing, or time is over."""
    row = read(name)
    if next(steps(row, conditions, wanted), None) is None:
        return
    exported = export(CASES[case]())
    if not isinstance(exported, Exported):
        raise SystemExit(f"the export failed: {exported}")
    model = exported.model
    session = open_session(model, AT_DEFAULT_LEVEL)
    feeds = dict(inputs_from_signature(session, seed=0))
    del session

    def fresh(count: int) -> FreshSession:
        graph = slowed(model, count) if count else model
        return FreshSession(lambda: open_session(graph, AT_DEFAULT_LEVEL).bind(feeds))

    plain = fresh(0)
    judge = partial(evaluate_regression, bound=parse_bound(conditions.half))
    for step in steps(row, conditions, wanted):
        began = time.perf_counter()
        what, _, side = step.partition(" ")
        with Foreign() as others, busy_cores(conditions.load):
            if what == "count":
                row.count = planted_count(fresh, plain, conditions.slowdown)
            elif what == "record":
                made = record(fresh(row.count) if side == "planted" else plain, plain, PIECE_S)
                getattr(row, side).ratios += made.ratios
                getattr(row, side).seconds += made.seconds
            else:
                other = fresh(row.count) if side == "planted" else plain
                said = measure_paired(other, plain, budget_s=conditions.budget, judge=judge)
                row.live[side].append((said.verdict.value, said.seconds, said.ratio))
        row.foreign.append(others.cores)
        keep(name, row)
        now = time.perf_counter()
        print(f"{name}: {step} [{now - began:.0f} s, others {others.cores:.2f} cores]", file=sys.stderr, flush=True)
        if now > until:
            return


def planted_count(fresh: Callable[[int], FreshSession], plain: FreshSession, slowdown: float) -> int:
    """How many MatMuls take this share: a line through the costs of 20 and of 120."""
    low, high = (record(fresh(count), plain, PIECE_S).really[0] for count in (20, 120))
    each = (high - low) / 100
    return max(1, round(20 + (100 * slowdown - low) / each))


def table_rows(name: str, row: Row, conditions: Conditions, verdicts: int) -> Iterator[str]:
    """The lines of one model under one condition: replayed ones, then live ones."""
    random = Random(0)
    cells = (
        (f"{name}, identical", row.identical, "identical", (("<=0%", True), (conditions.half, False))),
        (f"{name}, {row.count} MatMuls planted", row.planted, "planted", ((conditions.half, False),)),
    )
    for graphs, recorded, side, bounds in cells:
        really = "not recorded"
        if len(recorded.ratios) > 2:
            mean, error = recorded.really
            really = f"{mean:+.2f} +- {error:.2f} %"
            for bound, exchanged in bounds:
                made = [replayed(recorded, bound, conditions.budget, random, exchanged) for _ in range(verdicts)]
                outcomes = [(latency.verdict.value, latency.seconds) for latency in made]
                yield line(graphs, really, bound, f"replayed from {len(recorded.ratios)} rounds", outcomes)
        if row.live[side]:
            outcomes = [(verdict, seconds) for verdict, seconds, _ in row.live[side]]
            yield line(graphs, really, conditions.half, "live", outcomes)


def line(graphs: str, really: str, bound: str, how: str, outcomes: Sequence[tuple[str, float]]) -> str:
    """One line of the table: shares of each verdict, and seconds."""
    counts = Counter(verdict for verdict, _ in outcomes)
    seconds = [each for _, each in outcomes]
    cells = [f"{100 * counts[verdict.value] / len(outcomes):.1f} %" for verdict in Verdict]
    took = f"{statistics.median(seconds):.1f} / {max(seconds):.1f}"
    return f"| {graphs} | {really} | {bound} | {how} | {len(outcomes)} | {' | '.join(cells)} | {took} |"


HEAD = (
    "| graphs | really | allows | verdicts | number | " + " | ".join(v.value for v in Verdict) + " | s, median / max |"
)


def page(rows: Sequence[tuple[str, Conditions, str, Row]], verdicts: int) -> str:
    """The tables of all conditions, each with what it was measured under."""
    parts = [f"{processor()}, {os.cpu_count()} cores, onnxruntime {version('onnxruntime')}, torch {version('torch')}."]
    for conditions in CONDITIONS:
        ours = [(case, row) for _, of, case, row in rows if of == conditions and row.count]
        if not ours:
            parts.append(f"**{conditions.name}**: not measured")
            continue
        foreign = [cores for _, row in ours for cores in row.foreign]
        lines = [text for case, row in ours for text in table_rows(case, row, conditions, verdicts)]
        parts.append(
            f"**{conditions.name}**: {conditions.load} cores kept busy by the benchmark, "
            f"{statistics.median(foreign):.2f} (at most {max(foreign):.2f}) by other processes; sessions of 1 thread, "
            f"{conditions.slowdown:.0%} planted, {conditions.budget:g} s per verdict.\n\n"
            + "\n".join([HEAD, "|---" * 10 + "|", *lines])
        )
    return "\n\n".join(parts) + "\n"


def write_page(text: str) -> None:
    before, found, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise SystemExit(f"{PAGE} has no markers {BEGIN} and {END}")
    PAGE.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME", default="", help="rows whose name (quiet-bert4, ...) holds this")
    parser.add_argument("--for", type=float, default=float("inf"), metavar="SECONDS", dest="limit")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--write", action="store_true", help="measure nothing, write it into docs/latency_gate.md")
    parser.add_argument("--verdicts", type=int, default=200, help="replayed verdicts of each row")
    parser.add_argument("--live", type=int, default=3, help="verdicts of the gate itself, of each row")
    parser.add_argument("--seconds", type=float, default=100.0, help="of recording, for each pair of graphs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = [(f"{conditions.name}-{case}", conditions, case) for conditions in CONDITIONS for case in CASES]
    until = time.perf_counter() + arguments.limit
    if not (arguments.table or arguments.write):
        for name, conditions, case in names:
            if arguments.only in name and time.perf_counter() < until:
                measure(name, case, conditions, Wanted(arguments.seconds, arguments.live), until)
    text = page([(*each, read(each[0])) for each in names], arguments.verdicts)
    print(text)
    if arguments.write:
        write_page(text)


if __name__ == "__main__":
    main()
