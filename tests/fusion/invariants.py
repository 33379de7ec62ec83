"""What holds for every partition of every graph."""

from __future__ import annotations

from collections import Counter

from pytest_modelcheck.capture import Captured
from pytest_modelcheck.fusion import FusionReport, Subgraph
from pytest_modelcheck.fusion.ops import Op, op_graph


def violations(captured: Captured, report: FusionReport) -> list[str]:
    """What is wrong with a report on `captured`; empty where nothing is."""
    ops = op_graph(captured).ops
    return [*_covers(ops, report), *_is_in_order(report), *_is_connected(ops, report), *_has_no_cycle(ops, report)]


def _covers(ops: tuple[Op, ...], report: FusionReport) -> list[str]:
    counted = Counter(member for subgraph in report.subgraphs for member in subgraph.members)
    wrong = [f"{ops[index]} is in {counted[index]} subgraphs" for index in range(len(ops)) if counted[index] != 1]
    return wrong + ([f"{report.nodes} nodes, {len(ops)} in the graph"] if report.nodes != len(ops) else [])


def _is_in_order(report: FusionReport) -> list[str]:
    firsts = [subgraph.members[0] for subgraph in report.subgraphs]
    wrong = [] if firsts == sorted(firsts) else ["subgraphs are not in the order of their first operator"]
    return wrong + [f"#{n} is unsorted" for n, s in enumerate(report.subgraphs) if list(s.members) != sorted(s.members)]


def _is_connected(ops: tuple[Op, ...], report: FusionReport) -> list[str]:
    """All but the last are read by one other member alone; grouped projections read one value."""

    def connected(subgraph: Subgraph) -> bool:
        members = [ops[index] for index in subgraph.members]
        if subgraph.pattern == "qkv":
            return len({op.arguments[0] for op in members}) == 1
        return all(len(op.users) == 1 and op.users[0] in members and not op.is_output for op in members[:-1])

    return [f"#{n} is not connected" for n, subgraph in enumerate(report.subgraphs) if not connected(subgraph)]


def _has_no_cycle(ops: tuple[Op, ...], report: FusionReport) -> list[str]:
    """No cycle among the subgraphs: so each of them is convex, too."""
    number = {ops[member]: n for n, subgraph in enumerate(report.subgraphs) for member in subgraph.members}
    waiting = {
        n: {number[producer] for member in subgraph.members for producer in ops[member].inputs} - {n}
        for n, subgraph in enumerate(report.subgraphs)
    }
    wrong = [f"sources of #{n}" for n, subgraph in enumerate(report.subgraphs) if set(subgraph.sources) != waiting[n]]
    while ready := {n for n, sources in waiting.items() if not sources}:
        waiting = {n: sources - ready for n, sources in waiting.items() if n not in ready}
    return wrong + ([f"a cycle through {sorted(waiting)}"] if waiting else [])
