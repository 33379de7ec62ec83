"""``expect_memory``: bytes and operations that are counted, not timed, and how they grow with a size."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.bounds import ANY, COUNT, Bound, Domain, parse_bound
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, named_bound
from pytest_modelcheck.result import Finding

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.torch_checks.memory import Growth, MemoryUse

SIZES = (32, 64, 128, 256, 512)
GROWTH = ("exponent", "constant", "linear", "quadratic")

_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_WITH_UNIT = re.compile(rf"(\d+(?:\.\d+)?)\s*({'|'.join(_UNITS)})\b")


@dataclass(frozen=True, slots=True)
class ExpectMemory:
    """Bounds by name, and for those on growth the axis and its sizes."""

    axis: str | None
    sizes: tuple[int, ...]
    growth: tuple[tuple[str, Bound], ...]
    figures: tuple[tuple[str, Bound], ...]


def parse(
    axis: str | None = None,
    sizes: Any = SIZES,
    exponent: Any = None,
    constant: Any = None,
    linear: Any = None,
    quadratic: Any = None,
    peak: Any = None,
    total: Any = None,
    flops: Any = None,
    initializers: Any = None,
    file: Any = None,
    session: Any = None,
) -> ExpectMemory:
    """bytes of one forward pass (peak, total), their growth along an axis, FLOPs, weights, file, onnxruntime session

    Raises:
        MarkerError: when nothing is expected, growth without an axis, an axis without growth, fewer than three sizes.
        BoundError: on a bound that cannot be read.
    """
    growth = _given(_plain, exponent=exponent, constant=constant, linear=linear, quadratic=quadratic)
    figures = _given(
        _bytes_bound, peak=peak, total=total, flops=flops, initializers=initializers, file=file, session=session
    )
    if not growth and not figures:
        raise MarkerError('expects nothing; write e.g. axis="sequence", exponent="<=2.1", or peak="<=64MiB"')
    if growth and axis is None:
        raise MarkerError(f'{growth[0][0]} needs the axis that grows, e.g. axis="sequence"')
    if axis is not None and not growth:
        raise MarkerError(f'axis={axis!r} needs a bound on the growth, e.g. exponent="<=2.1"')
    return ExpectMemory(axis, _sizes(sizes), growth, figures)


def _given(read: Callable[[str, Any], Bound], **expected: Any) -> tuple[tuple[str, Bound], ...]:
    return tuple((name, read(name, value)) for name, value in expected.items() if value is not None)


def _sizes(sizes: Any) -> tuple[int, ...]:
    try:
        read = tuple(sorted(sizes))
    except TypeError:
        read = ()
    if len(set(read)) < max(3, len(read)) or not all(type(size) is int and size > 0 for size in read):
        raise MarkerError(f"sizes={sizes!r}: write three or more different positive numbers, e.g. (32, 64, 128)")
    return read


def _plain(name: str, expected: Any, domain: Domain = ANY) -> Bound:
    bound = named_bound(name, expected, domain)
    if bound.percent or bound.whole is not None:
        raise BoundError(f"{name}={expected!r}: write a plain number, e.g. {name}='<=2.1'")
    return bound


def _bytes_bound(name: str, expected: Any) -> Bound:
    """A bound in bytes; ``"<=1.5MiB"`` is read as 1572864."""
    if not isinstance(expected, str):
        return _plain(name, expected, COUNT)
    text = _WITH_UNIT.sub(lambda match: repr(float(match[1]) * _UNITS[match[2]]), expected)
    _plain(name, text, COUNT)
    return replace(parse_bound(text), text=expected)


def check(modelcheck: ModelCheck, expectation: ExpectMemory) -> GateResult:
    """Count what is asked for, and compare."""
    from pytest_modelcheck.torch_checks.gates import memory_figures

    findings, measured = [], []
    if expectation.axis is not None:
        uses = memory_figures.uses_at(modelcheck, expectation.axis, expectation.sizes)
        growth = memory_figures.growth_of(uses)
        measured.append(f"total {growth} (n: {expectation.axis}), exponent {growth.exponent:.2f}")
        findings += _growth_findings(modelcheck, expectation, uses, growth)
    for name, bound in expectation.figures:
        value, text = memory_figures.figure(modelcheck, name)
        measured.append(f"{name} {text}")
        if not bound.holds(value):
            where, step = memory_figures.explain(modelcheck, name)
            findings.append(_finding(modelcheck, name, str(bound), text, where, step))
    return GateResult(gate=GATE.name, measured=", ".join(measured), findings=tuple(findings))


def _growth_findings(
    modelcheck: ModelCheck, expectation: ExpectMemory, uses: dict[int, MemoryUse], growth: Growth
) -> list[Finding]:
    axis, sizes = expectation.axis, expectation.sizes
    where = (
        f"total {growth}, n being {axis} from {sizes[0]} to {sizes[-1]}",
        *(f"{axis} {size}: total {use.total:,} bytes, peak {use.peak:,} bytes" for size, use in uses.items()),
    )
    step = "A quadratic part is a tensor over pairs of positions, such as attention scores that are written out."
    findings = []
    for name, bound in expectation.growth:
        value = float(getattr(growth, name))
        if name != "exponent" and growth.residual:
            found = f"no parabola: the total is off by up to {growth.residual} bytes"
            findings.append(_finding(modelcheck, name, str(bound), found, where, "Ask for the exponent instead."))
        elif not bound.holds(value):
            found = f"{value:.2f}" if name == "exponent" else f"{value:.10g} bytes per {_PER[name].format(axis)}"
            findings.append(_finding(modelcheck, name, str(bound), found, where, step))
    return findings


_PER = {"constant": "pass", "linear": "{}", "quadratic": "{}^2"}


def _finding(
    modelcheck: ModelCheck, subject: str, expected: str, found: str, where: tuple[str, ...], step: str
) -> Finding:
    return modelcheck.finding(
        GATE.name,
        subject,
        expected,
        found,
        context="torch forward" if subject in (*GROWTH, "peak", "total", "flops") else modelcheck.settings.context,
        where=where,
        next=step,
    )


GATE = Gate("expect_memory", parse, check)
