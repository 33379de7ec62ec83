"""What the streams and probes of a cache say, as findings."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from pytest_modelcheck.accuracy import to_numpy
from pytest_modelcheck.accuracy.magnitude import allowed
from pytest_modelcheck.accuracy.tolerance import DEFAULTS
from pytest_modelcheck.calling import describe
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.result import Finding, error_finding
from pytest_modelcheck.torch_checks.cache.probes import ProbeResult
from pytest_modelcheck.torch_checks.cache.streams import Arrays, Limits, Stream, StreamResult, differing_positions
from pytest_modelcheck.torch_checks.cache.tensors import cache_tensors

cache_error = partial(error_finding, "expect_cache_parity")
"""A finding of verdict `error`: something was not measured."""

_NEXT_INTERRUPTED = (
    "Without another continuation or sequence in between all agrees: the module keeps part of what it needs outside "
    "its cache, writes into the cache it is given, or hands out caches that share memory."
)


def stream_findings(results: Sequence[StreamResult], streams: Sequence[Stream], *, interrupted: int) -> list[Finding]:
    """One finding for the first stream that fails; the others are in its `where`.

    Args:
        results, streams: In the same order; the first stream took all positions at once.
        interrupted: How many of the last streams had another continuation or sequence in between.
    """
    failed = [(result, stream) for result, stream in zip(results, streams, strict=True) if result.finding]
    if not failed:
        return []
    result, stream = failed[0]
    assert result.finding is not None
    where = list(result.finding.where)
    if result.position is not None and len(streams) > 1:
        where += _cache_difference(streams[0].cache, stream)
    for other, _ in failed[1:]:
        assert other.finding is not None
        where.append(f"also in {other.name}: {other.finding.subject}, found {other.finding.found}")
    agreeing = [other.name for other in results if other.finding is None]
    where += [f"agrees in {', '.join(agreeing)}"] if agreeing else []
    only_then = len(agreeing) >= len(results) - interrupted and result.position is not None
    only_then = only_then and all(other in results[len(results) - interrupted :] for other, _ in failed)
    return [
        dataclasses.replace(
            result.finding, where=tuple(where), next=_NEXT_INTERRUPTED if only_then else result.finding.next
        )
    ]


def _cache_difference(whole: Any, stream: Stream) -> list[str]:
    """Where the stream's last cache first differs from that of all positions at once: the layer at fault is near."""
    length = stream.chunks[-1].stop
    expected, found = cache_tensors(whole), cache_tensors(stream.cache)
    if list(expected) != list(found):
        return [f"its cache holds {', '.join(found)}; that of one full pass {', '.join(expected)}"]
    for name, tensor in expected.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        if tensor.shape != found[name].shape or tensor.dtype != found[name].dtype:
            return [f"cache {name} is {describe(found[name])}; after one full pass {describe(tensor)}"]
        a, b = to_numpy(tensor), to_numpy(found[name])
        limit = allowed(a, DEFAULTS.of(name, a.dtype))
        axes = [axis for axis, size in enumerate(a.shape) if size == length]
        differing = differing_positions(a, b, limit, axes[-1] if axes else 0)
        if differing:
            at = f" at position {differing[0][0]}" if axes else ""
            return [f"cache {name} is the first that differs from that of one full pass: {differing[0][1]:.4g}{at}"]
    return ["every tensor of its cache agrees with that of one full pass: look at the last layer and what follows it"]


def blind_inputs(case: ModelCase, reference: Arrays, limits: Limits) -> list[Finding]:
    """A full pass whose positions or rows are all equal cannot show that two of them were exchanged."""
    floats = {name: a for name, a in reference.items() if a.dtype.kind in "fc" or "float" in a.dtype.name}
    for what, axis in (("positions", limits.axis), ("rows of the batch", 0)):
        judged = {name: a for name, a in floats.items() if a.ndim > limits.axis > 0 or axis == limits.axis}
        judged = {name: a for name, a in judged.items() if a.ndim > axis and a.shape[axis] > 1}
        if judged and all(bool(np.all(a == a.take([0], axis))) for a in judged.values()):
            return [
                cache_error(
                    case.name,
                    "inputs",
                    f"{what} that differ",
                    f"all {what} of {', '.join(judged)} are equal: exchanging two of them would not show",
                    next="Draw inputs that differ along the sequence and from row to row.",
                )
            ]
    return []


def pollution(case: ModelCase, before: Arrays, after: Arrays, limits: Limits) -> list[Finding]:
    differing = [key for key, array in before.items() if key not in after or array.tobytes() != after[key].tobytes()]
    if not differing:
        return []
    return [
        Finding(
            gate="expect_cache_parity",
            model=case.name,
            subject=f"output {differing[0]!r} of a second full pass",
            expected="the bits of the full pass before the streams",
            found="other values",
            context=f"seed {limits.seed}",
            next="The module keeps state of its own between calls (attributes, buffers), or is not deterministic.",
        )
    ]


def blind_probes(case: ModelCase, probes: Sequence[ProbeResult]) -> Finding | None:
    unseen = [probe for probe in probes if not probe.seen]
    if not unseen:
        return None
    return cache_error(
        case.name,
        "cache",
        "every change to the cache to be seen",
        f"{len(unseen)} of {len(probes)} stay within the tolerance",
        where=tuple(
            f"{probe.change}: largest effect {probe.effect:.3g}, tolerance {probe.limit:.3g}" for probe in unseen
        ),
        next="A cache that does not reach the outputs cannot be checked by them: leave tensors that are never "
        "read out of the cache, give random weights a larger scale, or set smaller atol and rtol.",
    )
