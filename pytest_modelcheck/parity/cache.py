"""Cache parity: step by step with the key/value cache gives what one full pass gives, at every position.

The streams of one set of inputs: all positions at once, in chunks of each size, a prefill and then one by one, and once
more with the cache written to a file half way, another sequence run through the module, and the cache read back.

Parity alone can hold for bad reasons, so the comparison itself is examined: each tensor of the cache set to zero, the
rows of the batch exchanged, neighbouring layers exchanged. Each of these must be seen, at the given tolerance; a full
pass whose rows or positions are all equal is refused.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pytest_modelcheck.accuracy import to_numpy
from pytest_modelcheck.accuracy.tolerance import Width
from pytest_modelcheck.calling import ModuleInputs, describe, unchanged_buffers
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.parity.cache_probes import ProbeResult, probe_cache
from pytest_modelcheck.parity.cache_tensors import cache_tensors, load_cache, save_cache
from pytest_modelcheck.parity.protocol import CacheProtocol, NoCacheError, Stepper
from pytest_modelcheck.parity.streams import (
    Arrays,
    Limits,
    Stream,
    StreamResult,
    differing_positions,
    full_pass,
    judge,
    run,
)
from pytest_modelcheck.result import Finding, Verdict

LEAST_POSITIONS = 4
"""Fewer leave no room for a prefill, several steps after it, and a chunk that ends unevenly."""

_NEXT_RELOADED = (
    "Every other stream agrees: the module keeps part of what it needs outside its cache, where another sequence "
    "overwrites it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheParity:
    """What the streams and the probes of one model came to.

    Attributes:
        positions: Length of the sequence (of the first seed).
        tensors: Paths of the cache's tensors after the last position.
        streams: One result per stream and seed.
        probes: One per change to the cache that had to be seen (first seed).
        findings: What is wrong; empty if every position agrees and every probe was seen.
    """

    positions: int
    tensors: tuple[str, ...]
    streams: tuple[StreamResult, ...]
    probes: tuple[ProbeResult, ...]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return not self.findings

    @property
    def scaled(self) -> float:
        """Largest scaled difference of any stream; NaN if one could not be measured."""
        values = [stream.scaled for stream in self.streams]
        return float(np.max(values)) if values else float("nan")

    @property
    def text(self) -> str:
        """The figures in one clause."""
        names = ", ".join(dict.fromkeys(stream.name for stream in self.streams))
        seen = sum(probe.seen for probe in self.probes)
        return (
            f"{self.positions} positions ({names}) {self.scaled:.1e}; {seen} of {len(self.probes)} changes to "
            f"{len(self.tensors)} cache tensors seen"
        )


def cache_parity(
    case: ModelCase,
    module: torch.nn.Module,
    inputs: Callable[[int], ModuleInputs],
    *,
    protocol: CacheProtocol | None = None,
    chunks: Sequence[int] = (1, 2, 3),
    atol: Width = None,
    rtol: Width = None,
    seeds: Sequence[int] = (0,),
) -> CacheParity:
    """Compare streams with the full pass.

    Args:
        case: Names the model and its outputs.
        module: In eval mode; left as it was found.
        inputs: seed -> the inputs of the full pass.
        protocol: How the cache goes in and out; None for a Hugging Face decoder.
        chunks: Sizes of the chunks, in positions.
        atol, rtol: As in `accuracy.compare`.
        seeds: One set of inputs each; another one is drawn for the sequence that comes between.
    """
    protocol = protocol or CacheProtocol()
    streams: list[StreamResult] = []
    probes: tuple[ProbeResult, ...] = ()
    tensors: tuple[str, ...] = ()
    findings: list[Finding] = []
    positions = 0
    try:
        for seed in seeds:
            stepper = Stepper(case, module, inputs(seed), protocol)
            other = Stepper(case, module, inputs(seed + len(seeds)), protocol)
            limits = Limits(atol=atol, rtol=rtol, axis=protocol.axis, model=case.name, seed=seed)
            with torch.no_grad():
                made = _one_seed(stepper, other, chunks, limits, first=seed == seeds[0])
            streams += made.streams
            findings += made.findings
            if seed == seeds[0]:
                positions, tensors, probes = made.positions, made.tensors, made.probes
    except ModelCheckError as error:  # no cache, a step that raises, inputs that cannot be made
        findings.append(_error(case, "cache", "a model that runs step by step with its cache", str(error)))
    return CacheParity(
        positions=positions,
        tensors=tensors,
        streams=tuple(streams),
        probes=probes,
        findings=tuple(findings),
    )


def _one_seed(stepper: Stepper, other: Stepper, chunks: Sequence[int], limits: Limits, *, first: bool) -> CacheParity:
    length, case = stepper.positions, stepper.case
    if length < LEAST_POSITIONS or any(size >= length for size in chunks):
        raise NoCacheError(
            f"{case.name}: a sequence of {length} positions cannot be streamed in chunks of "
            f"{', '.join(map(str, chunks))}: it needs at least {LEAST_POSITIONS} positions, and more than a chunk"
        )
    with unchanged_buffers(stepper.module):
        reference = full_pass(stepper)
    made = [_fresh(stepper, "all at once", [length])]
    tensors = tuple(cache_tensors(made[0].cache))
    if not any(tensor.is_floating_point() and tensor.numel() for tensor in cache_tensors(made[0].cache).values()):
        raise NoCacheError(f"{case.name}: the cache holds no floating-point tensor: {type(made[0].cache).__name__}")
    made += [_fresh(stepper, f"chunks of {size}", _schedule(length, size)) for size in chunks]
    half = length // 2
    made.append(_fresh(stepper, f"a prefill of {half}, then one by one", [half] + [1] * (length - half)))
    with tempfile.TemporaryDirectory(prefix="modelcheck-") as folder:
        made.append(_reloaded(stepper, other, half, Path(folder) / "cache.pt"))
    results = [judge(reference, stream, limits) for stream in made]
    findings = _findings(results, made)
    findings += _blind_inputs(case, reference, limits)
    with unchanged_buffers(stepper.module):
        again = Stream(name="a second full pass", chunks=(), cache=None)
        findings += _pollution(case, reference, full_pass(stepper), limits, again.name)
    probes: tuple[ProbeResult, ...] = ()
    if first and not findings:
        with unchanged_buffers(stepper.module):
            probes = probe_cache(stepper, half, reference, limits)
        findings += [finding for finding in [_blind_probes(case, probes, limits)] if finding]
    return CacheParity(
        positions=length, tensors=tensors, streams=tuple(results), probes=probes, findings=tuple(findings)
    )


def _schedule(length: int, size: int) -> list[int]:
    whole, rest = divmod(length, size)
    return [size] * whole + [rest] * (rest > 0)


def _fresh(stepper: Stepper, name: str, lengths: Sequence[int]) -> Stream:
    with unchanged_buffers(stepper.module):
        return run(stepper, name, lengths)


def _reloaded(stepper: Stepper, other: Stepper, half: int, path: Path) -> Stream:
    """The second half from a file; what the module keeps outside its cache is overwritten in between."""
    name = f"reloaded from a file at {half}, after another sequence"
    with unchanged_buffers(stepper.module):
        cache = run(stepper, name, [half]).cache
        save_cache(cache, path)
        between = other.positions // 2
        run(other, name, [between] + [1] * (other.positions - between))
        return run(stepper, name, [1] * (stepper.positions - half), cache=load_cache(cache, path), start=half)


def _findings(results: Sequence[StreamResult], streams: Sequence[Stream]) -> list[Finding]:
    """One finding for the first stream that fails; the others stand in its `where`."""
    failed = [(result, stream) for result, stream in zip(results, streams, strict=True) if result.finding]
    if not failed:
        return []
    result, stream = failed[0]
    assert result.finding is not None
    where = list(result.finding.where)
    if result.position is not None:
        where += _cache_difference(streams[0].cache, stream)
    for other, _ in failed[1:]:
        assert other.finding is not None
        where.append(f"also in {other.name}: {other.finding.subject}, found {other.finding.found}")
    agreeing = [other.name for other in results if other.finding is None]
    where += [f"agrees in {', '.join(agreeing)}"] if agreeing else []
    only_reloaded = result is results[-1] and result.position is not None
    return [
        dataclasses.replace(
            result.finding, where=tuple(where), next=_NEXT_RELOADED if only_reloaded else result.finding.next
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
        limit = 1e-5 * max(1.0, float(np.abs(a.astype(np.float64)).max()))
        axes = [axis for axis, size in enumerate(a.shape) if size == length]
        differing = differing_positions(a, b, limit, axes[-1] if axes else 0)
        if differing:
            at = f" at position {differing[0][0]}" if axes else ""
            return [f"cache {name} is the first that differs from that of one full pass: {differing[0][1]:.4g}{at}"]
    return ["every tensor of its cache agrees with that of one full pass: look at the last layer and what follows it"]


def _blind_inputs(case: ModelCase, reference: Arrays, limits: Limits) -> list[Finding]:
    """A full pass whose positions or rows are all equal cannot show that two of them were exchanged."""
    floats = {name: a for name, a in reference.items() if a.dtype.kind in "fc" or "float" in a.dtype.name}
    for what, axis in (("positions", limits.axis), ("rows of the batch", 0)):
        judged = {name: a for name, a in floats.items() if a.ndim > limits.axis > 0 or axis == limits.axis}
        judged = {name: a for name, a in judged.items() if a.ndim > axis and a.shape[axis] > 1}
        if judged and all(bool(np.all(a == a.take([0], axis))) for a in judged.values()):
            return [
                _error(
                    case,
                    "inputs",
                    f"{what} that differ",
                    f"all {what} of {', '.join(judged)} are equal: exchanging two of them would not show",
                    next_step="Draw inputs that differ along the sequence and from row to row.",
                )
            ]
    return []


def _pollution(case: ModelCase, before: Arrays, after: Arrays, limits: Limits, name: str) -> list[Finding]:
    differing = [key for key, array in before.items() if key not in after or array.tobytes() != after[key].tobytes()]
    if not differing:
        return []
    return [
        Finding(
            gate="expect_cache_parity",
            model=case.name,
            subject=f"output {differing[0]!r} of {name}",
            expected="the bits of the full pass before the streams",
            found="other values",
            context=f"seed {limits.seed}",
            next="The module keeps state of its own between calls (attributes, buffers), or is not deterministic.",
        )
    ]


def _blind_probes(case: ModelCase, probes: Sequence[ProbeResult], limits: Limits) -> Finding | None:
    unseen = [probe for probe in probes if not probe.seen]
    if not unseen:
        return None
    return _error(
        case,
        "cache",
        "every change to the cache to be seen",
        f"{len(unseen)} of {len(probes)} stay within the tolerance",
        where=tuple(
            f"{probe.change}: largest effect {probe.effect:.3g}, tolerance {probe.limit:.3g}" for probe in unseen
        ),
        next_step="A cache that does not reach the outputs cannot be checked by them: leave tensors that are never "
        "read out of the cache, give random weights a larger scale, or set smaller atol and rtol.",
    )


def _error(
    case: ModelCase, subject: str, expected: str, found: str, *, where: tuple[str, ...] = (), next_step: str = ""
) -> Finding:
    return Finding(
        gate="expect_cache_parity",
        model=case.name,
        subject=subject,
        expected=expected,
        found=found.removeprefix(f"{case.name}: "),
        where=where,
        next=next_step,
        verdict=Verdict.ERROR,
    )
