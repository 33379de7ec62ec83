"""``expect_quantization``: what the optimized graph loses when it is quantized, and where."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.bounds import SHARE, Bound, Domain
from pytest_modelcheck.errors import ModelCheckError, OptionError
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, named_bound, shortened
from pytest_modelcheck.result import Finding, Verdict

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.quantization import Noise, Quantized

_SIZE = Domain(percent_low=0)
_COUNT = Domain(low=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectQuantization:
    """Who quantizes, on which inputs it is judged, and the bounds: None for what is not asked."""

    by: str
    sqnr: Bound | None
    worst: Bound | None
    top1: Bound | None
    size: Bound | None
    in_float: Bound | None
    seeds: int
    calibration: int

    def holds(self, outputs: Mapping[str, Noise]) -> bool:
        """Whether each output keeps the ratio that is asked for."""
        return self.sqnr is None or all(self.sqnr.holds(noise.decibels) for noise in outputs.values() if noise.signal)


def parse(
    by: Any,
    sqnr: Any = None,
    worst: Any = None,
    *,
    top1: Any = None,
    size: Any = None,
    in_float: Any = None,
    seeds: Any = 8,
    calibration: Any = 16,
) -> ExpectQuantization:
    """the optimized graph, quantized by this tool, keeps its outputs, e.g. by="static", sqnr=">=30dB", size="<=30%"

    `by` is dynamic, static or float16 (onnxruntime's tools), nncf (OpenVINO's), ``module:function`` or the path of an
    .onnx file. `sqnr` bounds the signal to quantization noise ratio of each output, `worst` that of each value inside
    (of seed 0), `top1` the share of rows whose largest element stays, `size` the bytes in percent, `in_float` the
    operators that stay float32. Judged on `seeds` inputs; a static tool gets the `calibration` seeds that follow.

    Raises:
        MarkerError: without a bound, or on counts that are none.
        BoundError: on a bound that cannot be read, or always or never holds.
    """
    bounds = {
        "sqnr": _decibels("sqnr", sqnr),
        "worst": _decibels("worst", worst),
        "top1": None if top1 is None else named_bound("top1", top1, SHARE),
        "size": None if size is None else named_bound("size", size, _SIZE),
        "in_float": None if in_float is None else named_bound("in_float", in_float, _COUNT),
    }
    for name in ("top1", "size"):
        if (bound := bounds[name]) is not None and not bound.percent:
            raise MarkerError(f"{name}={bound.text!r} must be in percent: {name}='{_EXAMPLES[name]}'")
    if not any(bounds.values()):
        raise MarkerError("it asks for nothing: give sqnr, worst, top1, size or in_float a bound")
    for name, count in (("seeds", seeds), ("calibration", calibration)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise MarkerError(f"{name}={count!r} must be a positive whole number")
    if not isinstance(by, str) or not by:
        raise MarkerError(f"by={by!r} must be a name")
    return ExpectQuantization(by=by, seeds=seeds, calibration=calibration, **bounds)


_EXAMPLES = {"top1": ">=99%", "size": "<=30%"}


def _decibels(name: str, value: Any) -> Bound | None:
    if value is None:
        return None
    text = value.strip().removesuffix("dB") if isinstance(value, str) else value
    bound = named_bound(name, text)
    if bound.percent or bound.whole is not None:
        raise MarkerError(f"{name}={value!r} must be in decibels: {name}='>=30dB'")
    return replace(bound, text=str(value).strip())


def validate(expectation: ExpectQuantization, passes: tuple[str, ...]) -> None:
    """Raises MarkerError on a tool that there is not."""
    from pytest_modelcheck.quantization import quantizer_named

    try:
        quantizer_named(expectation.by)
    except OptionError as error:
        raise MarkerError(str(error)) from None


def check(modelcheck: ModelCheck, expectation: ExpectQuantization) -> GateResult:
    """Quantize the optimized graph, run both on the same inputs."""
    try:
        found = _measured(modelcheck, expectation)
    except ModelCheckError:
        raise
    except Exception as error:  # whatever a tool of somebody else raises
        text = " ".join(str(error).split()) or type(error).__name__
        finding = _finding(
            modelcheck, "graph", f"a graph quantized by {expectation.by}", f"{type(error).__name__}: {text}"
        )
        return GateResult(gate=GATE.name, measured="", findings=(replace(finding, verdict=Verdict.ERROR),))
    blind = _blind(modelcheck, expectation, found)
    findings = (blind,) if blind else tuple(_findings(modelcheck, expectation, found))
    lowest = min((noise.decibels for noise in found.outputs.values() if noise.signal), default=math.nan)
    kept = sum(found.in_float.values())
    parts = [f"{expectation.by}: SQNR {lowest:.1f} dB", f"{found.size:.0f}% of the bytes"]
    parts += [f"{found.heavy - kept} of {found.heavy} operators with weights not in float32"]
    parts += [f"top-1 {min(found.top1.values()):.1%}"] if expectation.top1 and found.top1 else []
    return GateResult(
        gate=GATE.name,
        measured="" if blind else ", ".join(parts),
        findings=findings,
        figures=_figures(expectation, found),
    )


def _measured(modelcheck: ModelCheck, expectation: ExpectQuantization) -> Quantized:
    from pytest_modelcheck.accuracy.stages import feeds_for
    from pytest_modelcheck.quantization import compare_quantized, quantizer_named
    from pytest_modelcheck.runtimes import AT_DEFAULT_LEVEL, signature_of

    graphs = modelcheck.graphs

    def make() -> Quantized:
        signature = signature_of(graphs.optimized)
        feeds = [
            feeds_for(signature, graphs.inputs(seed)) for seed in range(expectation.seeds + expectation.calibration)
        ]
        return compare_quantized(
            graphs.optimized_path,
            graphs.optimized,
            quantizer_named(expectation.by),
            calibration=feeds[expectation.seeds :],
            feeds=feeds[: expectation.seeds],
            how=AT_DEFAULT_LEVEL.of(modelcheck.case),
            inside=lambda outputs: expectation.worst is not None or not expectation.holds(outputs),
        )

    return modelcheck.once(("quantization", repr(expectation)), make, step=f"quantization by {expectation.by}")


def _blind(modelcheck: ModelCheck, expectation: ExpectQuantization, found: Quantized) -> Finding | None:
    """What would pass without having measured."""
    if not found.changed:
        what, way = (
            "nothing was quantized: equal outputs, every operator as before",
            "The tool knows none of the operators.",
        )
    elif expectation.sqnr and not any(noise.signal for noise in found.outputs.values()):
        what, way = "no float output that is not all zero", "Give inputs or weights that make a signal."
    elif expectation.worst and all(layer.value in found.outputs for layer in found.layers):
        what, way = "no value inside that both graphs know by one name", "Leave worst out."
    elif expectation.top1 and not found.top1:
        what, way = "no output with rows to rank", "Leave top1 out."
    else:
        return None
    finding = _finding(modelcheck, "graph", "a quantized graph to compare", what, next=way)
    return replace(finding, verdict=Verdict.ERROR)


def _findings(modelcheck: ModelCheck, expectation: ExpectQuantization, found: Quantized) -> list[Finding]:
    findings = []
    worst = tuple(_layer_lines(modelcheck, found))
    for name, noise in found.outputs.items():
        if expectation.sqnr and noise.signal and not expectation.sqnr.holds(noise.decibels):
            findings.append(
                _finding(
                    modelcheck,
                    f"output {name!r}",
                    f"an SQNR {expectation.sqnr}",
                    f"{noise.decibels:.1f} dB",
                    where=worst,
                    next="Leave the modules that lose most in float, quantize per channel, calibrate on more inputs; "
                    f"{_meant('sqnr', noise.decibels)}",
                )
            )
    if expectation.worst and (low := [layer for layer in found.layers if not expectation.worst.holds(layer.after)]):
        lowest = min(low, key=lambda layer: layer.after)
        findings.append(
            _finding(
                modelcheck,
                "values inside",
                f"an SQNR {expectation.worst} in each",
                f"{lowest.after:.1f} dB in {lowest.value!r}, {len(low)} below",
                where=worst,
                next=f"Leave the modules that lose most in float; {_meant('worst', lowest.after)}",
            )
        )
    for name, share in found.top1.items():
        if expectation.top1 and not expectation.top1.holds(100 * share):
            step = "The largest elements lie close together, or too much is lost: see sqnr."
            findings.append(
                _finding(
                    modelcheck, f"output {name!r}", f"top-1 {expectation.top1}", f"{share:.1%}", where=worst, next=step
                )
            )
    if expectation.size and not expectation.size.holds(found.size):
        text = f"{found.size:.0f}% ({found.bytes_before:,} -> {found.bytes_after:,})"
        findings.append(
            _finding(modelcheck, "bytes", str(expectation.size), text, next="Weights may be kept in float32.")
        )
    kept = sum(found.in_float.values())
    if expectation.in_float and not expectation.in_float.holds(kept):
        listed = ", ".join(f"{op} {count}" for op, count in sorted(found.in_float.items())) or "none"
        step = "The tool quantizes no weights of this kind, or was told to leave them out."
        findings.append(
            _finding(modelcheck, "operators in float32", str(expectation.in_float), f"{kept} ({listed})", next=step)
        )
    return findings


def _meant(argument: str, decibels: float) -> str:
    rounded = math.floor(decibels) if math.isfinite(decibels) else None
    return (
        "no value is left of it."
        if rounded is None
        else f"if the loss is acceptable, write {argument}='>={rounded}dB'."
    )


def _layer_lines(modelcheck: ModelCheck, found: Quantized) -> list[str]:
    from pytest_modelcheck.accuracy.places import node_place

    owners = modelcheck.graphs.optimized_hierarchy if found.layers else None
    lines = []
    for layer in found.layers:
        owner = None if owners is None else owners.owner(layer.value)
        place = node_place(layer.node, None if owner is None else owner.path)
        before = "exact" if math.isinf(layer.before) else f"{layer.before:.1f} dB"
        lines.append(f"{place}: {before} -> {layer.after:.1f} dB")
    return list(shortened(lines))


def _finding(modelcheck: ModelCheck, subject: str, expected: str, found: str, **more: Any) -> Finding:
    return modelcheck.finding(GATE.name, subject, expected, found, stage="optimized", **more)


def _figures(expectation: ExpectQuantization, found: Quantized) -> Mapping[str, Any]:
    from pytest_modelcheck.figures import json_number

    return {
        f"quantization {expectation.by}": {
            "sqnr_db": {name: json_number(noise.decibels) for name, noise in found.outputs.items()},
            "top1": {name: json_number(share) for name, share in found.top1.items()},
            "equal_integers": dict(found.integers),
            "size_percent": json_number(found.size),
            "operators_in_float32": dict(found.in_float),
            "operators_with_weights": found.heavy,
        }
    }


GATE = Gate("expect_quantization", parse, check, validate)
