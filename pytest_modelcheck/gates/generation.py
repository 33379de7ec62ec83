"""``expect_generation``: the greedy tokens of the torch decoder, and those of the graphs with their cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, shortened
from pytest_modelcheck.gates.tolerances import read_seeds, read_width
from pytest_modelcheck.result import Finding, Verdict

if TYPE_CHECKING:
    from pytest_modelcheck.calling import ModuleInputs
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.generation import GenerationReport, Wiring
    from pytest_modelcheck.runtimes import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectGeneration:
    """How many tokens, from how many seeds, how closely, and what inputs and outputs are called."""

    tokens: int
    seeds: int
    tolerance: float | None
    ids: str | None
    logits: str
    cache: Mapping[str, str] | None


def parse(
    tokens: Any = 32,
    seeds: Any = 1,
    *,
    tolerance: Any = None,
    ids: Any = None,
    logits: Any = "logits",
    cache: Any = None,
) -> ExpectGeneration:
    """the exported decoder, its cache going from step to step, chooses the greedy tokens of the torch module

    `tolerance` is that of a logit, times max(1, magnitude); default: that of its dtype. `ids`, `logits` and `cache`
    (``{"past": "present"}``) name inputs and outputs that are called differently.

    Raises:
        MarkerError: on fewer than two tokens or one seed, a tolerance that is none, or names that are no text.
    """
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 2:
        raise MarkerError(f"tokens={tokens!r} must be a whole number of at least 2: the second one reads the cache")
    for label, value in (("ids", ids), ("logits", logits)):
        if value is not None and (not isinstance(value, str) or not value):
            raise MarkerError(f"{label}={value!r} must be a name")
    if isinstance(tolerance, Mapping):
        raise MarkerError(f"tolerance={tolerance!r} must be one number, of the logits")
    if cache is not None and (
        not isinstance(cache, Mapping) or not all(isinstance(part, str) for item in cache.items() for part in item)
    ):
        raise MarkerError(f'cache={cache!r} must be a dict from inputs to outputs: {{"past": "present"}}')
    return ExpectGeneration(
        tokens=tokens,
        seeds=read_seeds(seeds),
        tolerance=read_width("tolerance", tolerance),  # type: ignore[arg-type]  # one number: see above
        ids=ids,
        logits=logits,
        cache=None if cache is None else dict(cache),
    )


def check(modelcheck: ModelCheck, expectation: ExpectGeneration) -> GateResult:
    """Run torch, then both graphs, step by step."""
    from pytest_modelcheck.figures import json_number

    if modelcheck.source.torch is None:
        finding = _error(
            modelcheck, "an .onnx file has no torch module whose tokens are known", "Give it module=build."
        )
        return GateResult(gate=GATE.name, measured="", findings=(finding,))
    graphs = modelcheck.graphs
    reports = {
        "exported": _report(modelcheck, expectation, "exported", graphs.exported.path),
        "optimized": _report(modelcheck, expectation, "optimized", graphs.optimized_path),
    }
    findings: list[Finding] = []
    for stage, (seeds, blind) in reports.items():
        if blind:
            findings.append(_blind(modelcheck, stage))
        findings += [
            _finding(modelcheck, expectation, stage, seed, report) for seed, report in seeds if not report.passed
        ]
        if findings:
            break  # what is wrong in the export is wrong in what was made of it
    worst = max(report.scaled for seeds, _ in reports.values() for _, report in seeds)
    first, pace = reports["exported"][0], _pace([report for _, report in reports["optimized"][0]])
    rows = sum(report.rows for _, report in first)
    ties = [str(step) for seeds, _ in reports.values() for _, report in seeds for step in report.near_ties]
    cached = "" if _wiring(modelcheck, expectation, modelcheck.torch.inputs(0)).cache else ", without a cache"
    said = f"; near ties: {'; '.join(shortened(tuple(dict.fromkeys(ties))))}" if ties else ""
    kinds = max(report.tokens for _, report in first)
    measured = (
        f"{expectation.tokens} tokens of {rows} rows ({kinds} different), logits {worst:.1e}{cached}, first token "
        f"{pace['first_token_ms']:.3g} ms, then {1000 / pace['next_token_ms']:.3g} tokens/s per row{said}"
    )
    figures = {
        "generation": {
            "tokens": expectation.tokens,
            "rows": rows,
            "scaled_max": json_number(worst),
            "near_ties": len(ties),
            **pace,
        }
    }
    return GateResult(gate=GATE.name, measured=measured, findings=tuple(findings), figures=figures)


def _pace(reports: Sequence[GenerationReport]) -> dict[str, float]:
    """Milliseconds of the first token, and of each further one: the median of the steps of all seeds."""
    return {
        "first_token_ms": 1000 * median(report.seconds[0] for report in reports),
        "next_token_ms": 1000 * median(seconds for report in reports for seconds in report.seconds[1:]),
    }


_GROWING = (
    "Declare the axes that grow in dynamic_axes: the sequence, the past, and past + sequence in a mask over both."
)

_Reports = tuple[list[tuple[int, "GenerationReport"]], bool]
"""(seed, report) of each seed; and whether the comparison does not see the cache."""


def _report(modelcheck: ModelCheck, expectation: ExpectGeneration, stage: str, path: Path) -> _Reports:
    from pytest_modelcheck.generation import compare_generation, tokens_of_session
    from pytest_modelcheck.runtimes import How, open_session

    reference = _reference(modelcheck, expectation)

    def make() -> _Reports:
        session = open_session(path, How().of(modelcheck.case), name=stage)
        seeds, blind = [], False
        for seed, (logits, width) in reference.items():
            inputs = modelcheck.torch.inputs(seed)
            wiring = _wiring(modelcheck, expectation, inputs)
            tokens = [array.argmax(-1) for array in logits]
            try:
                found, seconds = tokens_of_session(session, inputs, wiring, tokens)
            except ModelCheckError as error:
                wanted = "a graph that runs step by step"
                raise modelcheck.settings.error("generation", wanted, str(error), next_step=_GROWING) from error
            seeds.append((seed, compare_generation(logits, found, width, seconds)))
            if seed == 0 and wiring.cache:
                blind = _is_blind(session, inputs, wiring, tokens, found, width)
        return seeds, blind

    return modelcheck.once(("generation", stage, repr(expectation)), make, step="generation")


def _is_blind(
    session: Session, inputs: ModuleInputs, wiring: Wiring, tokens: list[Any], found: list[Any], width: float
) -> bool:
    """Whether zeros in place of the last step's cache make no difference beyond the tolerance."""
    from pytest_modelcheck.generation import compare_generation, tokens_of_session

    zeros, _ = tokens_of_session(
        session, inputs, wiring, tokens, change=lambda cache: {name: array * 0 for name, array in cache.items()}
    )
    return compare_generation(found, zeros, width).over is None


def _reference(modelcheck: ModelCheck, expectation: ExpectGeneration) -> dict[int, tuple[list[Any], float]]:
    """Seed -> the logits of each step by torch, and the tolerance of a logit."""
    from pytest_modelcheck.accuracy import Tolerances
    from pytest_modelcheck.generation import tokens_of_torch

    def make() -> dict[int, tuple[list[Any], float]]:
        made = {}
        for seed in range(expectation.seeds):
            inputs = modelcheck.torch.inputs(seed)
            wiring = _wiring(modelcheck, expectation, inputs)
            logits = modelcheck.settings.working(
                "generation",
                lambda inputs=inputs, wiring=wiring: tokens_of_torch(  # type: ignore[misc]  # bound here
                    modelcheck.case, modelcheck.torch.module, inputs, wiring, expectation.tokens
                ),
            )
            width = Tolerances(rtol=expectation.tolerance).of(wiring.logits, logits[0].dtype).rtol
            made[seed] = (logits, width)
        return made

    return modelcheck.once(("generation of torch", repr(expectation)), make, step="generation")


def _wiring(modelcheck: ModelCheck, expectation: ExpectGeneration, inputs: ModuleInputs) -> Wiring:
    from pytest_modelcheck.accuracy.stages import flat_arrays
    from pytest_modelcheck.generation import wiring_of

    outputs = [value.name or "" for value in modelcheck.exported.model.graph.outputs]
    return wiring_of(
        flat_arrays(inputs), outputs, ids=expectation.ids, logits=expectation.logits, cache=expectation.cache
    )


def _finding(
    modelcheck: ModelCheck, expectation: ExpectGeneration, stage: str, seed: int, report: GenerationReport
) -> Finding:
    culprit = "The exporter" if stage == "exported" else "A pass of the pipeline"
    where = [f"seed {seed}, {step}" for step in report.wrong]
    if report.over is not None:
        where.insert(
            0, f"logits over tolerance from step {report.over}, by up to {report.scaled:.3g} of their magnitude"
        )
    first = min((step.step for step in report.wrong), default=report.over)
    found = (
        f"other tokens from step {first}, {len(report.wrong)} of {report.steps * report.rows}"
        if report.wrong
        else f"the same tokens, and other logits from step {report.over}"
    )
    at_start = " The first step has it, too: expect_accuracy says more." if report.over == 0 else ""
    in_cache = " Step 0 agrees: look at the cache, the mask and the positions of a later step." if not at_start else ""
    return modelcheck.finding(
        GATE.name,
        "tokens",
        f"the {expectation.tokens} greedy tokens of torch",
        found,
        stage=stage,
        where=shortened(where),
        next=f"{culprit} changed what the decoder generates.{at_start}{in_cache}",
    )


def _blind(modelcheck: ModelCheck, stage: str) -> Finding:
    return modelcheck.finding(
        GATE.name,
        "cache",
        "logits that depend on the cache",
        "zeros in its place make no difference",
        stage=stage,
        next="Nothing was shown about the cache: give trained weights, longer inputs, or look at what reads the cache.",
        verdict=Verdict.ERROR,
    )


def _error(modelcheck: ModelCheck, found: str, way: str) -> Finding:
    return modelcheck.finding(GATE.name, "tokens", "greedy tokens of torch", found, next=way, verdict=Verdict.ERROR)


GATE = Gate("expect_generation", parse, check)
