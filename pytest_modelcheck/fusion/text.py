"""The canonical text of a fusion report: what a snapshot locks.

One block per module (and call of it), in natural order, with one line per subgraph: its operators in order with their
constant arguments, and where its inputs come from. Equal blocks of repeated layers are written once. Nothing in it
depends on the names of variables or graph nodes, nor on the order of independent nodes, and there are no floats. Why a
subgraph ends (`Subgraph.boundary`) is left to the report: the last layer ends in an output where the others end in a
fork, and would never fold with them.
"""

from __future__ import annotations

from collections import Counter

from pytest_modelcheck.fusion.report import FusionReport, Subgraph
from pytest_modelcheck.hierarchy.folded_rows import fold_rows


def fusion_text(report: FusionReport) -> str:
    """The report as text: a head of totals, then the blocks.

    ```
    encoder.layer.[0-11].attention.self  x12
      linear | linear | linear <- layer_norm
      view > transpose[dim0=1 dim1=2] <- linear
    ```
    What a subgraph reads is named by its last operator; ``add#2`` is the second of a block that ends in an `add`.
    """
    whole = "" if report.opaque_nodes in (None, report.nodes) else f" ({report.opaque_nodes} with attention whole)"
    lines = [
        f"compute nodes {report.nodes}{whole}, subgraphs {len(report.subgraphs)}, "
        f"attention layers {report.attention_layers}, qkv {report.qkv}/{report.attention_layers}",
    ]
    lines += [f"not grouped: {line}" for line in unfused_lines(report)]
    for folded in fold_rows(_blocks(report).items()):
        count = f"  x{len(folded.paths)}" if len(folded.paths) > 1 else ""
        lines.append(f"{folded.text}{count}")
        for calls, rows in folded.row:
            if calls:
                lines.append(f"  {calls}")
            lines += [f"  {row}" for row in rows]
    outputs = ("input" if number < 0 else _tail(report.subgraphs[number]) for number in report.outputs)
    lines.append(f"outputs <- {', '.join(outputs)}")
    return "\n".join(lines) + "\n"


def unfused_lines(report: FusionReport) -> list[str]:
    """Each attention layer whose projections are not grouped, with its reason; equal ones of repeated layers once."""
    return _folded(report.unfused)


def apart_lines(report: FusionReport) -> list[str]:
    """Each attention layer that has only two of Q, K and V grouped, in the same way."""
    return _folded(tuple((owner, f"{groups} read different inputs") for owner, groups in report.apart))


def _folded(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    reasons: dict[str | None, tuple[str, ...]] = {}
    for owner, reason in pairs:
        if reason not in reasons.get(owner, ()):
            reasons[owner] = (*reasons.get(owner, ()), reason)
    lines = []
    for folded in fold_rows(reasons.items()):
        count = f" (x{len(folded.paths)})" if len(folded.paths) > 1 else ""
        lines.append(f"{folded.text}{count}: {'; '.join(folded.row)}")
    return lines


def _blocks(report: FusionReport) -> dict[str | None, tuple[tuple[str, tuple[str, ...]], ...]]:
    """Module path -> its calls, equal calls in a row together: (which calls, rows)."""
    members: dict[str, dict[int, list[int]]] = {}
    for number in _from_the_outputs(report):
        subgraph = report.subgraphs[number]
        members.setdefault(subgraph.owner, {}).setdefault(subgraph.call, []).append(number)
    blocks: dict[str | None, tuple[tuple[str, tuple[str, ...]], ...]] = {}
    for owner, calls in members.items():
        rows = {call: _rows(report.subgraphs, numbers) for call, numbers in sorted(calls.items())}
        by_rows: dict[tuple[str, ...], list[int]] = {}
        for call, text in rows.items():
            by_rows.setdefault(text, []).append(call)
        blocks[owner] = tuple((_calls_text(which, len(calls)), text) for text, which in by_rows.items())
    return blocks


def _calls_text(which: list[int], total: int) -> str:
    if total == 1:
        return ""
    if len(which) == total:
        return f"each of {total} calls:"
    return f"call {', '.join(str(call) for call in which)} of {total}:"


def _from_the_outputs(report: FusionReport) -> list[int]:
    """The subgraphs, each behind what it reads, in the order in which the outputs need them: two independent nodes may
    change places in the graph, and nothing changes here."""
    ordered: dict[int, None] = {}
    unused = sorted(range(len(report.subgraphs)), key=lambda number: (report.subgraphs[number].form, number))
    for start in (*report.outputs, *unused):
        stack = [(start, False)] if start >= 0 else []
        while stack:
            number, done = stack.pop()
            if done:
                ordered[number] = None
            elif number not in ordered:
                stack.append((number, True))
                stack += [(source, False) for source in reversed(report.subgraphs[number].sources)]
    return list(ordered)


def _rows(subgraphs: tuple[Subgraph, ...], numbers: list[int]) -> tuple[str, ...]:
    tails = Counter(_tail(subgraphs[number]) for number in numbers)
    seen: Counter[str] = Counter()
    names: dict[int, str] = {}
    for number in numbers:
        tail = _tail(subgraphs[number])
        seen[tail] += 1
        names[number] = f"{tail}#{seen[tail]}" if tails[tail] > 1 else tail
    rows = []
    for number in numbers:
        subgraph, name = subgraphs[number], names[number]
        sources = ", ".join(names.get(source) or _tail(subgraphs[source]) for source in subgraph.sources)
        rows.append(f"{f'{name}: ' if '#' in name else ''}{subgraph.form} <- {sources or 'inputs'}")
    return tuple(rows)


def _tail(subgraph: Subgraph) -> str:
    return subgraph.ops[-1].partition("[")[0]
