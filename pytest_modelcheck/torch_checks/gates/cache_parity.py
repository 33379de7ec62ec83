"""``expect_cache_parity``: step by step with the key/value cache gives what one full pass gives, at every position."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError
from pytest_modelcheck.gates.tolerances import Width, read_seeds, read_width

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectCacheParity:
    """Sizes of the chunks, tolerances, and how the cache goes in and out (words: `torch_checks.cache.protocol`)."""

    chunks: tuple[int, ...]
    cache: tuple[str, str | int] | None
    sequence: Mapping[str, int] | None
    grows: Mapping[str, int] | None
    step: Callable[..., Any] | None
    axis: int
    outputs: tuple[str, ...] | None
    atol: Width
    rtol: Width
    seeds: int


def parse(
    chunks: Any = (1, 2, 3),
    cache: Any = None,
    sequence: Any = None,
    grows: Any = None,
    step: Any = None,
    axis: Any = 1,
    outputs: Any = None,
    atol: Any = None,
    rtol: Any = None,
    seeds: Any = 1,
) -> ExpectCacheParity:
    """the torch module, step by step with its key/value cache, gives what one full pass gives, at every position

    Raises:
        MarkerError: on chunk sizes below one, a cache that is neither a name nor a pair of names, or both `cache` and
            `step`.
    """
    if cache is not None and step is not None:
        raise MarkerError(
            "cache=... names where the cache goes in and out, step=... does both itself; give one of them"
        )
    if step is not None and not callable(step):
        raise MarkerError(f"step={step!r} must be a function: step(module, inputs, cache) -> (outputs, cache)")
    if isinstance(axis, bool) or not isinstance(axis, int) or axis < 0:
        raise MarkerError(f"axis={axis!r} must be a whole number of at least 0")
    return ExpectCacheParity(
        chunks=_chunks(chunks),
        cache=_cache(cache),
        sequence=_axes("sequence", sequence),
        grows=_axes("grows", grows),
        step=step,
        axis=axis,
        outputs=_names("outputs", outputs),
        atol=read_width("atol", atol),
        rtol=read_width("rtol", rtol),
        seeds=read_seeds(seeds),
    )


def _chunks(value: Any) -> tuple[int, ...]:
    sizes = (value,) if isinstance(value, int) else value
    if not isinstance(sizes, list | tuple) or not sizes or not all(type(size) is int and size > 0 for size in sizes):
        raise MarkerError(f"chunks={value!r} must be whole numbers of at least 1, e.g. chunks=(1, 2, 3)")
    return tuple(dict.fromkeys(sizes))


def _cache(value: Any) -> tuple[str, str | int] | None:
    if value is None:
        return None
    pair = (value, value) if isinstance(value, str) else value
    if (
        not isinstance(pair, list | tuple)
        or len(pair) != 2
        or type(pair[0]) is not str
        or type(pair[1]) not in (str, int)
    ):
        raise MarkerError(
            f"cache={value!r} must be a name, or the argument that takes it and the output that returns it: "
            f'cache=("past", "present"), cache=("past", 1)'
        )
    return (pair[0], pair[1])


def _axes(label: str, value: Any) -> Mapping[str, int] | None:
    if value is None:
        return None
    if isinstance(value, Mapping) and value and all(type(k) is str and type(v) is int for k, v in value.items()):
        return dict(value)
    try:
        names = _names(label, value)
    except MarkerError:
        raise MarkerError(f'{label}={value!r} must be input names, or input -> axis: {label}={{"x": 1}}') from None
    return dict.fromkeys(names or (), 1)


def _names(label: str, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(type(name) is str and name for name in names):
        raise MarkerError(f"{label}={value!r} must be a name or several")
    return tuple(names)


def check(modelcheck: ModelCheck, expectation: ExpectCacheParity) -> GateResult:
    """Run the streams of every seed and examine the comparison itself."""
    from pytest_modelcheck.torch_checks.cache import CacheProtocol, cache_parity

    protocol = CacheProtocol(
        cache=expectation.cache,
        sequence=expectation.sequence,
        grows=expectation.grows,
        step=expectation.step,
        axis=expectation.axis,
        outputs=expectation.outputs,
    )
    torch = modelcheck.torch
    module = torch.module
    report = modelcheck.once(
        ("cache parity", repr(expectation)),
        lambda: cache_parity(
            modelcheck.case,
            module,
            torch.inputs,
            protocol=protocol,
            chunks=expectation.chunks,
            atol=expectation.atol,
            rtol=expectation.rtol,
            seeds=range(expectation.seeds),
        ),
        step="cache parity",
    )
    findings = tuple(dataclasses.replace(finding, gate=GATE.name) for finding in report.findings)
    measured = report.text if report.streams else ""
    return GateResult(gate=GATE.name, measured=measured, findings=findings, figures={"parity": {"cache": report.text}})


GATE = Gate("expect_cache_parity", parse, check)
