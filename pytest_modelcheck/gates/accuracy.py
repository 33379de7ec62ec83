"""``expect_accuracy``: torch against the export, and the export against the optimized graph, over many seeds."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, choice
from pytest_modelcheck.gates.tolerances import Width, read_seeds, read_width
from pytest_modelcheck.model_case import PROVIDERS, Provider
from pytest_modelcheck.result import Finding, Verdict

if TYPE_CHECKING:
    from pytest_modelcheck.accuracy import SweepReport
    from pytest_modelcheck.check import ModelCheck


@dataclass(frozen=True, slots=True)
class ExpectAccuracy:
    """Tolerances (accuracy/tolerance.py has the formula), the number of seeds, and whether inputs are varied."""

    atol: Width
    rtol: Width
    seeds: int
    varied: bool
    provider: Provider | None = None
    equal_nan: bool = False
    metric: Mapping[str, str] = dataclasses.field(default_factory=dict)
    valid: str = ""


def parse(
    atol: Any = None,
    rtol: Any = None,
    seeds: Any = 20,
    varied: Any = True,
    *,
    provider: str | None = None,
    equal_nan: Any = False,
    metric: Any = None,
    valid: Any = "",
) -> ExpectAccuracy:
    """torch, exported and optimized agree on every output: |difference| <= max(atol, rtol * magnitude), every seed

    `atol` and `rtol` are numbers, or dicts by output name; None takes the default of each output's dtype. `varied`
    lets some of the seeds run other kinds and sizes of inputs than the case draws (accuracy/variants.py). `provider`
    is what computes the graphs in onnxruntime: CPU or CUDA; default: the case's. `equal_nan` takes NaN at equal places
    as agreement.

    Raises:
        MarkerError: on a negative, infinite or NaN tolerance, fewer than one seed, a switch that is not a bool, or a
            provider that is not known.
    """
    for name, switch in (("varied", varied), ("equal_nan", equal_nan)):
        if not isinstance(switch, bool):
            raise MarkerError(f"{name}={switch!r} must be True or False")
    if not isinstance(valid, str):
        raise MarkerError(f"valid={valid!r} must be the name of an input")
    return ExpectAccuracy(
        atol=read_width("atol", atol),
        rtol=read_width("rtol", rtol),
        seeds=read_seeds(seeds),
        varied=varied,
        provider=None if provider is None else choice("provider", provider, PROVIDERS),
        equal_nan=equal_nan,
        metric=_read_metrics(metric),
        valid=valid,
    )


def _read_metrics(metric: Any) -> Mapping[str, str]:
    given = {} if metric is None else metric
    if not isinstance(given, Mapping) or not all(isinstance(part, str) for item in given.items() for part in item):
        raise MarkerError(
            f"metric={metric!r} must be a dict from output name to a metric: {{'scores': 'cosine >= 0.999'}}"
        )
    return dict(given)


def validate(expectation: ExpectAccuracy, passes: tuple[str, ...]) -> None:
    """Read the metrics, whose functions may be in modules of the user's.

    Raises:
        OptionError: naming the metric.
    """
    if expectation.metric:
        from pytest_modelcheck.accuracy.output_metrics import read_metric

        for text in expectation.metric.values():
            read_metric(text)


def check(modelcheck: ModelCheck, expectation: ExpectAccuracy) -> GateResult:
    """Run every seed through every stage."""
    from pytest_modelcheck.accuracy import TOLERANCES, rounds_to_integers
    from pytest_modelcheck.runtimes import missing_provider

    if missing := missing_provider(expectation.provider or modelcheck.case.provider):
        finding = modelcheck.finding(
            GATE.name,
            "provider",
            f"outputs of {expectation.provider}",
            f"nothing measured: {missing}",
            next="Run where it is; modelcheck_inconclusive decides whether this fails.",
            verdict=Verdict.INCONCLUSIVE,
        )
        return GateResult(gate=GATE.name, measured="", findings=(finding,))
    if (unknown := _unknown_name(modelcheck, expectation)) is not None:
        return GateResult(gate=GATE.name, measured="", findings=(unknown,))
    report = measure_accuracy(modelcheck, **dataclasses.asdict(expectation))
    pairs = [f"{pair.reference} -> {pair.candidate} {pair.scaled_max:.1e}" for pair in report.pairs]
    findings = tuple(
        dataclasses.replace(
            _of_invented_inputs(modelcheck, finding),
            context=", ".join(part for part in (finding.context, modelcheck.settings.context) if part),
        )
        for finding in report.findings
    )
    varied = f", {len(report.variants)} of them varied" if report.variants else ""
    measured = f"{', '.join(pairs)} over {len(report.seeds)} seeds{varied}" if pairs else ""
    if measured and expectation.rtol is None and rounds_to_integers(modelcheck.graphs.exported_model):
        width = TOLERANCES["int8-quantized"]
        measured += f"; int8-quantized: rtol {width:g} except for passes, because the graph quantizes activations"
    return GateResult(gate=GATE.name, measured=measured, findings=findings)


def _of_invented_inputs(modelcheck: ModelCheck, finding: Finding) -> Finding:
    """A stage that cannot run inputs that nobody gave says what they are, and how to give others."""
    if modelcheck.case.inputs is not None or modelcheck.source.torch is not None:
        return finding
    if not finding.subject.startswith("stage ") or finding.verdict is not Verdict.ERROR:
        return finding
    if finding.found.startswith("an error at opening it"):  # no inputs have been seen yet
        return finding
    given = {name: _array_text(value) for name, value in modelcheck.graphs.inputs(0).items()}  # type: ignore[union-attr]  # a file draws its own
    made = f"inputs invented from the file's signature: {', '.join(f'{name} {text}' for name, text in given.items())}"
    way = "Give the inputs that the model takes: ModelCase.from_onnx(path, inputs), inputs(seed) -> {name: array}."
    return dataclasses.replace(finding, where=(*finding.where, made), next=f"{way} {finding.next}".strip())


def _array_text(array: Any) -> str:
    """An array as ``float32[2, 8]``."""
    return f"{array.dtype}{list(array.shape)}"


def _unknown_name(modelcheck: ModelCheck, expectation: ExpectAccuracy) -> Finding | None:
    """An output or input that the marker names and the model does not have; asked of the module, before any export."""
    given = {"atol": expectation.atol, "rtol": expectation.rtol, "metric": expectation.metric}
    named = {name: label for label, value in given.items() if isinstance(value, Mapping) for name in value}
    if not named and not expectation.valid:
        return None
    inputs, outputs = _names(modelcheck)
    known = {**{name: (label, outputs, "output") for name, label in named.items()}}
    if expectation.valid:
        known[expectation.valid] = ("valid", inputs, "input")
    for name, (label, there, what) in known.items():
        if there and name not in there:
            close = difflib.get_close_matches(name, there, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"Name one of them in {label}."
            return modelcheck.finding(
                GATE.name,
                label,
                f"the name of an {what}: {', '.join(map(repr, there))}",
                repr(name),
                next=hint[0].upper() + hint[1:],
                verdict=Verdict.ERROR,
            )
    return None


def _names(modelcheck: ModelCheck) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of inputs and outputs; () where the forward raises, which the export says better."""
    from pytest_modelcheck.calling import run_module
    from pytest_modelcheck.errors import ModelCaseError

    torch_side = modelcheck.source.torch
    if torch_side is None:
        graph = modelcheck.exported.model.graph
        return tuple(v.name or "" for v in graph.inputs), tuple(v.name or "" for v in graph.outputs)
    try:
        example = torch_side.example
        with torch_side.lent() as module:
            return example.names, tuple(run_module(modelcheck.case, module, example))
    except ModelCaseError:
        return (), ()


def measure_accuracy(
    modelcheck: ModelCheck,
    *,
    atol: Width = None,
    rtol: Width = None,
    seeds: int = 20,
    varied: bool = True,
    provider: str | None = None,
    equal_nan: bool = False,
    metric: Mapping[str, str] | None = None,
    valid: str = "",
) -> SweepReport:
    """Run torch -> exported -> optimized over the seeds 0 to `seeds` - 1; kept per tolerance.

    Raises:
        FindingError: if there is no export, or a pass of the pipeline failed: there is no graph to measure.
    """
    from pytest_modelcheck.accuracy import Subject, Tolerances, assess, rounds_to_integers, standard_stages
    from pytest_modelcheck.accuracy.watched_inputs import input_digest
    from pytest_modelcheck.check.settings import own_cores
    from pytest_modelcheck.runtimes import How
    from pytest_modelcheck.runtimes.freed_memory import GROWTH, return_freed_memory
    from pytest_modelcheck.store import Store

    provider = provider or modelcheck.case.provider
    settings, graphs = modelcheck.settings, modelcheck.graphs
    runs = How(threads=own_cores(), provider=provider).of(modelcheck.case)
    how = {
        "atol": repr(atol),
        "rtol": repr(rtol),
        "seeds": seeds,
        "varied": varied,
        "provider": provider,
        "equal_nan": equal_nan,
        "metric": repr(metric),
        "valid": valid,
    }

    def sweep() -> SweepReport:
        return_freed_memory(collect=GROWTH.is_large())
        lent = None if modelcheck.source.torch is None else modelcheck.source.torch.lent
        return assess(
            standard_stages(modelcheck.case, lent, modelcheck.exported.path, graphs.optimized_path, how=runs),
            graphs.inputs,
            Subject(
                case=modelcheck.case,
                module=lent,
                exported=graphs.exported_model,
                optimized=graphs.optimized,
                passes=graphs.passes,
                target=settings.target,
                how=runs,
            ),
            seeds=range(seeds),
            varied=varied,
            tolerances=Tolerances(
                atol, rtol, equal_nan, metric or {}, valid, quantized=rounds_to_integers(graphs.exported_model)
            ),
            store=None if settings.cache is None else Store(settings.cache),
        )

    def drawn() -> list[str]:
        """Of every seed: what reads its inputs in C is not recorded (torchvision.io, cv2)."""
        return [input_digest(graphs.inputs(seed)).hex() for seed in range(seeds)]

    def make() -> SweepReport:
        graphs.optimized  # noqa: B018 - raises where there is no graph that the whole pipeline made
        of_user = any(":" in text for text in (metric or {}).values())  # code that no key of a kept result holds
        if of_user or modelcheck.source.changed(modelcheck.exported):
            return sweep()
        return graphs.reuse.accuracy(sweep, graphs.optimized_path, drawn, **how)

    return modelcheck.once(("accuracy", *how.values()), make, step="accuracy", figures=accuracy_figures)


def accuracy_figures(report: SweepReport) -> dict[str, Any]:
    """The scaled maximal difference of each pair of stages; text where one is not a number."""
    from pytest_modelcheck.figures import json_number

    pairs = [
        {
            "reference": pair.reference,
            "candidate": pair.candidate,
            "step": pair.step,
            "scaled_max": json_number(pair.scaled_max),
            "max_abs": json_number(pair.max_abs),
            "worst_seed": pair.worst_seed,
            "passed": pair.passed,
        }
        for pair in report.pairs
    ]
    worst = max(
        (pair.scaled_max for pair in report.pairs), key=lambda v: math.inf if math.isnan(v) else v, default=None
    )
    figures = {
        "seeds": len(report.seeds),
        "variants": list(report.variants.values()),
        "passed": report.passed,
        "pairs": pairs,
        "notes": list(report.notes),
        "text": "failed" if worst is None else f"{worst:.1e}",
    }
    return {"accuracy": figures}


GATE = Gate("expect_accuracy", parse, check, validate)
