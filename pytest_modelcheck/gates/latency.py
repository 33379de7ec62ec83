"""``expect_latency``: the optimized graph against the exported or a locked one, side by side in the same minute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.bounds import CHANGE, COUNT, Bound
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, choice, named_bound, percent_bound
from pytest_modelcheck.model_case import PROVIDERS, Provider

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck


@dataclass(frozen=True, slots=True)
class ExpectLatency:
    """Bounds on exported time / optimized time, on the slowdown versus the locked graph, and than
    the time that is stored for this machine; with how many threads, by which execution provider, and the batch sizes
    whose throughput is shown."""

    speedup: Bound | None
    regression: Bound | None = None
    stored: Bound | None = None
    threads: int = 1
    provider: Provider | None = None
    batch_sizes: tuple[int, ...] = ()


def parse(
    speedup: Any = None,
    regression: Any = None,
    stored: Any = None,
    threads: int = 1,
    provider: str | None = None,
    batch_sizes: Any = (),
) -> ExpectLatency:
    """exported / optimized time, e.g. speedup=">=0.98"; or loss against the locked graph, e.g. regression="<=5%"

    Raises:
        BoundError: on a bound that cannot be read, or has the wrong unit.
        MarkerError: when nothing is expected, on a number of threads or a batch size that is none, on a provider that
            is not known.
    """
    if speedup is None and regression is None and stored is None:
        raise MarkerError('expects nothing; write e.g. speedup=">=0.98" or regression="<=5%"')
    if type(threads) is not int or threads < 1:
        raise MarkerError(f"threads={threads!r}: write a number of intra-op threads, 1 or more")
    sizes = tuple(batch_sizes) if isinstance(batch_sizes, list | tuple) else (batch_sizes,)
    if not all(type(size) is int and size > 0 for size in sizes):
        raise MarkerError(f"batch_sizes={batch_sizes!r}: write positive numbers, e.g. (1, 8, 32)")
    return ExpectLatency(
        _ratio(speedup),
        percent_bound("regression", regression, CHANGE, "<=5%"),
        percent_bound("stored", stored, CHANGE, "<=5%"),
        threads,
        None if provider is None else choice("provider", provider, PROVIDERS),
        sizes,
    )


def _ratio(expected: Any) -> Bound | None:
    if expected is None:
        return None
    bound = named_bound("speedup", expected, COUNT)
    if bound.percent or bound.whole is not None:
        raise BoundError(f'speedup={expected!r}: write a ratio, e.g. speedup=">=1.02"')
    return bound


def check(modelcheck: ModelCheck, expectation: ExpectLatency) -> GateResult:
    """Measure until each answer is clear or its budget is spent."""
    from pytest_modelcheck.check.results import merge_figures
    from pytest_modelcheck.gates.latency_answers import not_here, regression, speedup, stored
    from pytest_modelcheck.gates.latency_measures import measure_throughput, throughput_figures
    from pytest_modelcheck.runtimes import How, missing_provider

    asked = {
        "speedup": (expectation.speedup, speedup),
        "regression": (expectation.regression, regression),
        "stored": (expectation.stored, stored),
    }
    provider = expectation.provider or modelcheck.case.provider
    how = How(optimizer=True, threads=expectation.threads, provider=provider).of(modelcheck.case)
    missing = missing_provider(provider)
    results = []
    for subject, (bound, measure) in asked.items():
        if bound is not None and missing:
            results.append(not_here(modelcheck, subject, bound, missing))
        elif bound is not None:
            results.append(measure(modelcheck, bound, how))
    measured = [result.measured for result in results]
    figures: dict[str, Any] = {}
    for result in results:
        merge_figures(figures, result.figures)
    if expectation.batch_sizes and not missing:
        throughput = measure_throughput(modelcheck, expectation.batch_sizes, how)
        measured += map(str, throughput)
        figures["throughput"] = throughput_figures(throughput)
    return GateResult(
        gate=GATE.name,
        measured=", ".join(filter(None, measured)),
        findings=tuple(finding for result in results for finding in result.findings),
        figures=figures,
    )


GATE = Gate("expect_latency", parse, check)
