"""The pass-attribution matrix of one model as canonical rows, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Container, Iterator

from pytest_modelcheck.attribution import Attribution, PassAttribution
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.pipeline import PassStatus
from pytest_modelcheck.result import Change
from pytest_modelcheck.snapshots.text import REORDERED, differences_found

RULE = "nodes: the graph, its subgraphs and its functions, Constant nodes left out; -72 means 72 nodes fewer"
_REFUSED = "  refused "
_IDLE = "isolated 0, in order 0, no_op"
"""What a pass without a row did."""


def render(attribution: Attribution) -> str:
    """Totals, the pipeline in one line, and a row ``pass isolated in_order status`` for each pass that did something.

    A row is followed by its refusal reasons. A pass that changed and refused nothing, alone or in order, has no row:
    ``fuse_gelu`` below ran.

        target: portable
        nodes: 68 -> 67
        constants: 0 -> 0
        passes: fold_constants, fuse_gelu

        pass                             isolated in_order  status
        fold_constants                         -1       -1  fired

    Raises:
        ModelCheckError: if a pass failed: a failure is not a state to lock.
    """
    if attribution.errors:
        failed = "; ".join(f"{row.name}: {row.error}" for row in attribution.errors)
        raise ModelCheckError(f"snapshot: an attribution with a failed pass cannot be locked: {failed}")
    rows = [
        f"target: {attribution.target}",
        f"nodes: {attribution.nodes_before} -> {attribution.nodes_after}",
        f"constants: {attribution.constants_before} -> {attribution.constants_after}",
        f"passes: {', '.join(row.name for row in attribution.passes)}",
    ]
    did_something = [row for row in attribution.passes if row.status is not PassStatus.NO_OP or row.isolated]
    rows += ["", f"{'pass':<32} {'isolated':>8} {'in_order':>8}  status"] if did_something else []
    for row in did_something:
        rows.append(f"{row.name:<32} {_cell(row.isolated):>8} {_cell(row.in_order):>8}  {row.status}")
        rows += list(_notes(row))
    return "\n".join(rows) + "\n"


def _notes(row: PassAttribution) -> Iterator[str]:
    if row.error is not None:
        yield f"  error: {' '.join(row.error.split())}"
    for reason, count in sorted(row.reasons):
        yield f"{_REFUSED}{count} x: {reason}"


def _cell(delta: int | None) -> str:
    return "error" if delta is None else f"{delta:+d}" if delta else "0"


def differences(recorded: str, now: str) -> tuple[str, ...]:
    """One line per difference: totals, then passes in the order of today's pipeline, then passes that are gone.

    A pass that came and did nothing is no difference: a new one leaves the snapshots of the models alone on which it
    never fires.
    """
    before, after = dict(_parse(recorded)), dict(_parse(now))
    lines = []
    for key in [*after, *(key for key in before if key not in after)]:
        if key not in before:
            if after[key] == _IDLE:
                continue
            lines.append(f"{key}: new, {after[key]}")
        elif key not in after:
            lines.append(f"{key}: gone, was {before[key]}")
        elif before[key] != after[key]:
            lines.append(f"{key}: {before[key]}, now {after[key]}")
    if not lines and "\npasses: " not in recorded:
        lines.append("passes: recorded by version 0.1 or older, with a row for every pass")
    return tuple(lines)


def judge(recorded: str, now: Attribution) -> Change:
    """What changed; new passes that did nothing make the recorded text stale, no more."""
    text = render(now)
    lines = differences(recorded, text)
    if not lines and _of_known_passes(text, dict(_parse(recorded))) != recorded:
        lines = (REORDERED,)
    return Change(found=differences_found(lines), where=lines, stale=text != recorded)


def _of_known_passes(text: str, known: Container[str]) -> str:
    lines = text.splitlines(keepends=True)
    for index, line in enumerate(lines):
        if line.startswith("passes: "):
            names = line.removeprefix("passes: ").rstrip().split(", ")
            lines[index] = f"passes: {', '.join(name for name in names if name in known)}\n"
    return "".join(lines)


def _parse(body: str) -> Iterator[tuple[str, str]]:
    """(name, what the snapshot says of it) for the totals, each pass, and each refusal reason of a pass.

    A text without the line ``passes`` has a row for every pass: so it was written until 0.1.
    """
    current = ""
    for line in body.splitlines():
        if line.startswith("  "):
            count, _, reason = line.strip().partition(": ")
            yield f"{current}: {reason}", count
        elif ": " in line:
            name, _, value = line.partition(": ")
            yield from ((each, _IDLE) for each in value.split(", ")) if name == "passes" else [(name, value)]
        elif len(fields := line.split()) == 4 and fields[0] != "pass":
            current = fields[0]
            yield current, f"isolated {fields[1]}, in order {fields[2]}, {fields[3]}"
