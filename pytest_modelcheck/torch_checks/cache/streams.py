"""One stream: the positions in chunks, what came out of them, and how that compares with the full pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_modelcheck.accuracy import Comparison, OutputStatus, compare, to_numpy
from pytest_modelcheck.accuracy.magnitude import allowed
from pytest_modelcheck.accuracy.tolerance import Width
from pytest_modelcheck.result import Finding, Verdict
from pytest_modelcheck.torch_checks.cache.protocol import Stepper

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = dict[str, Array]

_NEXT = (
    "Look at what depends on the number of cached positions: position ids or rotary angles, the causal mask, the axis "
    "along which new keys and values are appended."
)
_BY_POSITION = (OutputStatus.OVER_TOLERANCE, OutputStatus.CANDIDATE_NAN, OutputStatus.INFINITE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What one step gave for the positions from `start` up to `stop` - 1."""

    start: int
    stop: int
    outputs: Arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One way through the sequence.

    Attributes:
        name: Such as ``"chunks of 2"``.
        chunks: In order.
        cache: What the last step returned.
    """

    name: str
    chunks: tuple[Chunk, ...]
    cache: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What every comparison of one run shares."""

    atol: Width
    rtol: Width
    axis: int
    model: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamResult:
    """One stream, compared.

    Attributes:
        name: Name of the stream.
        seed: Of the inputs.
        steps: How many calls it took.
        scaled: Largest ``|difference| / max(1, magnitude)``; NaN where it could not be measured.
        position: First position beyond the tolerance; None if there is none.
        finding: What is wrong; None if every position agrees.
    """

    name: str
    seed: int
    steps: int
    scaled: float
    position: int | None = None
    finding: Finding | None = None


def full_pass(stepper: Stepper) -> Arrays:
    """The reference: output name -> array."""
    return _arrays(stepper.full())


def run(stepper: Stepper, name: str, lengths: Sequence[int], *, cache: Any = None, start: int = 0) -> Stream:
    """Step through the sequence in chunks of these lengths, from `start` on with its `cache`."""
    chunks = []
    for length in lengths:
        outputs, cache = stepper.step(start, start + length, cache)
        chunks.append(Chunk(start=start, stop=start + length, outputs=_arrays(outputs)))
        start += length
    return Stream(name=name, chunks=tuple(chunks), cache=cache)


def _arrays(outputs: Mapping[str, Any]) -> Arrays:
    return {name: to_numpy(tensor).copy() for name, tensor in outputs.items()}  # a step may reuse its memory


def by_position(reference: Arrays, chunks: Sequence[Chunk], axis: int) -> list[str]:
    """The outputs that have one entry per position; every other one is the same at each step."""
    positions = chunks[-1].stop
    return [
        name
        for name, array in reference.items()
        if array.ndim > axis
        and array.shape[axis] == positions
        and all(_length(chunk, name, axis) == chunk.stop - chunk.start for chunk in chunks)
    ]


def _length(chunk: Chunk, name: str, axis: int) -> int | None:
    array = chunk.outputs.get(name)
    return int(array.shape[axis]) if array is not None and array.ndim > axis else None


def judge(reference: Arrays, stream: Stream, limits: Limits) -> StreamResult:
    """Compare a stream with the full pass, position by position."""
    context = f"{stream.name}, seed {limits.seed}, with the cache against the full pass"
    along = by_position(reference, stream.chunks, limits.axis)
    wrong = _no_positions(reference, stream.chunks, limits, context) if not along else None
    wrong = wrong or _wrong_form(reference, along, stream.chunks, limits, context)
    if wrong is not None:
        return _result(stream, limits, scaled=float("nan"), finding=wrong)
    whole, joined = _joined(reference, along, stream.chunks, limits.axis)
    comparison = _compared(whole, joined, limits, context)
    finding, worst = comparison.finding, comparison.worst
    if finding is None or worst is None or worst.status not in _BY_POSITION or worst.name not in along:
        return _result(stream, limits, scaled=comparison.scaled, finding=finding)
    limit = allowed(whole[worst.name], worst.tolerance) if worst.tolerance else 0.0
    differing = differing_positions(whole[worst.name], joined[worst.name], limit, limits.axis)
    expected = worst.tolerance.describe(worst.magnitude) if worst.tolerance else "equal values"
    finding = dataclasses.replace(
        finding,
        subject=f"output {worst.name!r} at position {stream.chunks[0].start + differing[0][0]}",
        expected=expected,
        found=f"|difference| {differing[0][1]:.4g}",
        where=_places(differing, stream.chunks),
        next=_NEXT,
    )
    position = stream.chunks[0].start + differing[0][0]
    return _result(stream, limits, scaled=comparison.scaled, position=position, finding=finding)


def _result(
    stream: Stream, limits: Limits, *, scaled: float, finding: Finding | None, position: int | None = None
) -> StreamResult:
    return StreamResult(
        name=stream.name,
        seed=limits.seed,
        steps=len(stream.chunks),
        scaled=scaled,
        position=position,
        finding=finding,
    )


def _joined(reference: Arrays, along: Sequence[str], chunks: Sequence[Chunk], axis: int) -> tuple[Arrays, Arrays]:
    """Both sides over the stream's positions; an output that is the same at each step counts once per step."""
    covered = range(chunks[0].start, chunks[-1].stop)
    whole, joined = {}, {}
    for name, array in reference.items():
        if name in along:
            whole[name] = array.take(covered, axis)
            joined[name] = np.concatenate([chunk.outputs[name] for chunk in chunks], axis)
        else:
            steps = {f"{name} (step {i + 1})": chunk.outputs[name] for i, chunk in enumerate(chunks)}
            whole |= dict.fromkeys(steps, array)
            joined |= steps
    return whole, joined


def _wrong_form(
    reference: Arrays, along: Sequence[str], chunks: Sequence[Chunk], limits: Limits, context: str
) -> Finding | None:
    """An output that comes, goes, or has another dtype or shape in one step: joined, it would not show."""
    for chunk in chunks:
        covered = range(chunk.start, chunk.stop)
        expected = {
            name: array.take(covered, limits.axis) if name in along else array for name, array in reference.items()
        }
        comparison = _compared(expected, chunk.outputs, limits, context)
        worst, finding = comparison.worst, comparison.finding
        if finding and worst and worst.status.failed and worst.status not in (*_BY_POSITION, OutputStatus.CONSTANT):
            where = f"the step of positions {chunk.start}..{chunk.stop - 1}, {chunk.start} in the cache"
            return dataclasses.replace(finding, where=(where, *finding.where))
    return None


def _compared(reference: Arrays, candidate: Arrays, limits: Limits, context: str) -> Comparison:
    made = compare(reference, candidate, atol=limits.atol, rtol=limits.rtol, model=limits.model, context=context)
    if made.finding is None:
        return made
    return dataclasses.replace(made, finding=dataclasses.replace(made.finding, gate="expect_cache_parity"))


def differing_positions(reference: Array, candidate: Array, limit: float | Array, axis: int) -> list[tuple[int, float]]:
    """(position, largest difference beyond `limit` there), of all positions that have one; NaN is beyond any."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(candidate.astype(np.float64) - reference.astype(np.float64))
    difference[(candidate == reference) | (difference <= limit)] = 0.0  # equal infinities are equal
    rows = np.moveaxis(difference, axis, 0).reshape(difference.shape[axis], -1)
    return [(at, float(row.max())) for at, row in enumerate(rows) if row.max() != 0]


def _places(differing: Sequence[tuple[int, float]], chunks: Sequence[Chunk]) -> tuple[str, ...]:
    start, stop = chunks[0].start, chunks[-1].stop
    first = start + differing[0][0]
    number, chunk = next((i, c) for i, c in enumerate(chunks) if c.start <= first < c.stop)
    listed = ", ".join(str(start + at) for at, _ in differing[:8]) + (", ..." if len(differing) > 8 else "")
    at, most = max(differing, key=lambda pair: float("inf") if np.isnan(pair[1]) else pair[1])
    return (
        f"step {number + 1} of {len(chunks)}: positions {chunk.start}..{chunk.stop - 1}, {chunk.start} in the cache",
        f"{len(differing)} of {stop - start} positions differ ({listed}), most {most:.4g} at position {start + at}",
    )


def _no_positions(reference: Arrays, chunks: Sequence[Chunk], limits: Limits, context: str) -> Finding:
    length = chunks[0].stop - chunks[0].start
    return Finding(
        gate="expect_cache_parity",
        model=limits.model,
        subject="outputs",
        expected=f"one entry per position along axis {limits.axis}: {chunks[-1].stop} in the full pass, {length} in "
        f"the first step",
        found=", ".join(
            f"{name} {list(array.shape)} and "
            f"{list(chunks[0].outputs[name].shape) if name in chunks[0].outputs else 'nothing'}"
            for name, array in reference.items()
        )
        or "no output",
        context=context,
        next="Name the outputs with outputs=..., or their axis of positions with axis=...; a step returns the outputs "
        "of its own positions.",
        verdict=Verdict.ERROR,
    )
