"""Cache parity: step by step with the key/value cache gives what one full pass gives, at every position.

The streams of one set of inputs: all positions at once, in chunks of each size, a prefill and then one by one, one and
then all others. Then the second of two continuations of one cache; another sequence run through the module half way;
the same with the cache written to a file before and read back. Where a mask is given that masks nothing, once more with
one that does.

Parity alone can hold for bad reasons, so the comparison itself is examined: each tensor of the cache set to zero, the
rows of the batch exchanged, neighbouring layers exchanged. Each of these must be seen, at the given tolerance; a full
pass whose rows or positions are all equal is refused.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pytest_modelcheck.accuracy.tolerance import Width
from pytest_modelcheck.calling import ModuleInputs, unchanged_buffers
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.result import Finding
from pytest_modelcheck.torch_checks.cache.findings import (
    blind_inputs,
    blind_probes,
    cache_error,
    pollution,
    stream_findings,
)
from pytest_modelcheck.torch_checks.cache.probes import ROWS_EXCHANGED, ProbeResult, probe_cache
from pytest_modelcheck.torch_checks.cache.protocol import CacheProtocol, NoCacheError, Stepper
from pytest_modelcheck.torch_checks.cache.streams import (
    Limits,
    Stream,
    StreamResult,
    full_pass,
    judge,
    run,
)
from pytest_modelcheck.torch_checks.cache.tensors import cache_tensors, fork, load_cache, save_cache

LEAST_POSITIONS = 4
"""Fewer leave no room for a prefill, several steps after it, and a chunk that ends unevenly."""


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
        rows = any(probe.change == ROWS_EXCHANGED for probe in self.probes)
        alone = "; a batch of one shows no exchanged rows" if self.probes and not rows else ""
        return (
            f"{self.positions} positions ({names}) {self.scaled:.1e}; {seen} of {len(self.probes)} changes to "
            f"{len(self.tensors)} cache tensors seen{alone}"
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
        seeds: One set of inputs each; a further set is drawn for the sequence that comes between.
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
            other = _another_sequence(stepper, inputs(seed + len(seeds)))
            limits = Limits(atol=atol, rtol=rtol, axis=protocol.axis, model=case.name, seed=seed)
            with torch.no_grad():
                made = _one_seed(stepper, other, chunks, limits, first=seed == seeds[0])
            streams += made.streams
            findings += made.findings
            if seed == seeds[0]:
                positions, tensors, probes = made.positions, made.tensors, made.probes
    except ModelCheckError as error:  # no cache, a step that raises, inputs that cannot be made
        found = str(error).removeprefix(f"{case.name}: ")
        findings.append(cache_error(case.name, "cache", "a model that runs step by step with its cache", found))
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
    made.append(_fresh(stepper, "one, then all others", [1, length - 1]))
    made.append(_continued_twice(stepper, half))
    made.append(_interrupted(stepper, other, half, None))
    with tempfile.TemporaryDirectory(prefix="modelcheck-") as folder:
        made.append(_interrupted(stepper, other, half, Path(folder) / "cache.pt"))
    results = [judge(reference, stream, limits) for stream in made]
    findings = stream_findings(results, made, interrupted=3)
    if first and not findings and (masked := _masked(stepper)) is not None:
        with unchanged_buffers(stepper.module):
            right = full_pass(masked)
        stream = _fresh(masked, "position 1 masked, one by one after a prefill", [half] + [1] * (length - half))
        results.append(judge(right, stream, limits))
        findings += stream_findings(results[-1:], [stream], interrupted=0)
    findings += blind_inputs(case, reference, limits)
    with unchanged_buffers(stepper.module):
        findings += pollution(case, reference, full_pass(stepper), limits)
    probes: tuple[ProbeResult, ...] = ()
    if first and not findings:
        with unchanged_buffers(stepper.module):
            probes = probe_cache(stepper, half, reference, limits)
        findings += [finding for finding in [blind_probes(case, probes)] if finding]
    return CacheParity(
        positions=length, tensors=tensors, streams=tuple(results), probes=probes, findings=tuple(findings)
    )


def _schedule(length: int, size: int) -> list[int]:
    whole, rest = divmod(length, size)
    return [size] * whole + [rest] * (rest > 0)


def _fresh(stepper: Stepper, name: str, lengths: Sequence[int]) -> Stream:
    with unchanged_buffers(stepper.module):
        return run(stepper, name, lengths)


def _continued_twice(stepper: Stepper, half: int) -> Stream:
    """The second of two continuations of one cache, as a beam search makes them."""
    name, rest = f"a second continuation from {half}", [1] * (stepper.positions - half)
    with unchanged_buffers(stepper.module):
        cache = run(stepper, name, [half]).cache
        second = fork(cache)
        run(stepper, name, rest, cache=cache, start=half)
        return run(stepper, name, rest, cache=second, start=half)


def _interrupted(stepper: Stepper, other: Stepper, half: int, path: Path | None) -> Stream:
    """The second half after another sequence, with the cache as it is, or by way of a file."""
    name = (
        f"another sequence in between, at {half}" if path is None else f"reloaded from a file at {half}, after another"
    )
    with unchanged_buffers(stepper.module):
        cache = run(stepper, name, [half]).cache
        if path is not None:
            save_cache(cache, path)
        between = other.positions // 2
        run(other, name, [between] + [1] * (other.positions - between))
        if path is not None:
            cache = load_cache(cache, path)
        return run(stepper, name, [1] * (stepper.positions - half), cache=cache, start=half)


def _another_sequence(stepper: Stepper, drawn: ModuleInputs) -> Stepper:
    """The inputs of another seed; where they are the same ones, the same sequence backwards."""
    values = dict(zip(drawn.names, drawn.values, strict=True))
    own = stepper.inputs.as_dict()
    if all(name in own and torch.equal(own[name], value) for name, value in values.items()):
        values |= {name: own[name].flip(axis) for name, axis in stepper.sequence.items()}
    made = ModuleInputs(drawn.names, tuple(values.values()), drawn.arguments)
    return Stepper(stepper.case, stepper.module, made, stepper.protocol)


def _masked(stepper: Stepper) -> Stepper | None:
    """The same inputs with position 1 of the first row masked, if there is a mask and it masks nothing.

    Position 0 stays: a row that sees nothing at all has no defined output.
    """
    values = stepper.inputs.as_dict()
    for name, axis in stepper.grows.items():
        mask = values[name]
        if mask.ndim == 2 and axis in (1, -1) and not mask.is_floating_point() and bool((mask == 1).all()):
            changed = mask.clone()
            changed[0, 1] = 0
            made = ModuleInputs(
                stepper.inputs.names, tuple({**values, name: changed}.values()), stepper.inputs.arguments
            )
            return Stepper(stepper.case, stepper.module, made, stepper.protocol)
    return None
