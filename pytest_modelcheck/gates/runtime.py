"""``expect_runtime``: the graph in the runtime that is deployed."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_modelcheck.bounds import COUNT, Bound
from pytest_modelcheck.errors import BoundError, OptionError
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, choice, named_bound
from pytest_modelcheck.gates.tolerances import Width, read_seeds, read_width
from pytest_modelcheck.result import Finding, Verdict

if TYPE_CHECKING:
    from pytest_modelcheck.accuracy import RuntimeReport
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.runtimes import How

Stage = Literal["exported", "optimized", "both"]
STAGES: tuple[Stage, ...] = ("exported", "optimized", "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectRuntime:
    """The runtime, which graphs it must run, and how closely."""

    name: str
    atol: Width
    rtol: Width
    seeds: int
    varied: bool
    stage: Stage
    provider: str
    ops: tuple[tuple[str, Bound], ...] = ()
    latency: Bound | None = None


def parse(
    name: str,
    atol: Any = None,
    rtol: Any = None,
    seeds: Any = 20,
    varied: bool = True,
    stage: str = "both",
    provider: str = "CPU",
    ops: Any = None,
    latency: Any = None,
) -> ExpectRuntime:
    """this runtime (`python -m pytest_modelcheck runtimes`) loads the graphs, keeps the weights, and agrees with torch

    `atol`, `rtol`, `seeds` and `varied` are those of ``expect_accuracy``; `stage` is exported, optimized or both. `ops`
    bounds the operators of the graph as the runtime executes it, by the runtime's own names, e.g. {"Reorder": "<=2"};
    `latency` its speedup over onnxruntime with the same file, e.g. ">=0.9": of the optimized graph where it is run.

    Raises:
        MarkerError: where ``expect_accuracy`` does, on an unknown stage, a runtime that does not say what it executes,
            and on a latency of onnxruntime against itself.
        BoundError: on a bound that cannot be read, has the wrong unit, or can never fail.
    """
    if not isinstance(varied, bool):
        raise MarkerError(f"varied={varied!r} must be True or False")
    if latency is not None and name == "onnxruntime":
        raise MarkerError("latency compares with onnxruntime: name another runtime, or use expect_latency")
    return ExpectRuntime(
        name=name,
        atol=read_width("atol", atol),
        rtol=read_width("rtol", rtol),
        seeds=read_seeds(seeds),
        varied=varied,
        stage=choice("stage", stage, STAGES),
        provider=provider,
        ops=_counts(ops),
        latency=None if latency is None else _plain("latency", latency),
    )


def _counts(ops: Any) -> tuple[tuple[str, Bound], ...]:
    if ops is None:
        return ()
    if not isinstance(ops, Mapping) or not ops or not all(isinstance(op, str) for op in ops):
        raise MarkerError(f'ops={ops!r}: write operators with their counts, e.g. ops={{"Reorder": "<=2"}}')
    return tuple((op, _plain(op, expected)) for op, expected in ops.items())


def _plain(name: str, expected: Any) -> Bound:
    bound = named_bound(name, expected, COUNT)
    if bound.percent or bound.whole is not None:
        raise BoundError(f"{name}={expected!r}: write a plain number, e.g. '>=0.9'")
    return bound


def validate(expectation: ExpectRuntime, passes: tuple[str, ...]) -> None:
    """Raises MarkerError on an unknown runtime, and on what it cannot be asked."""
    from pytest_modelcheck.runtimes import RUNTIMES, runtime_named

    try:
        runtime = runtime_named(expectation.name)
    except OptionError as error:
        raise MarkerError(str(error)) from None
    if runtime.of_module and expectation.stage != "both":
        raise MarkerError(f"stage={expectation.stage!r}: {runtime.title} converts the torch module, not a graph")
    if expectation.ops and runtime.executed is None:
        those = ", ".join(each.name for each in RUNTIMES if each.executed)
        raise MarkerError(f"ops: {runtime.title} does not say what it executes; those that do: {those}")


def check(modelcheck: ModelCheck, expectation: ExpectRuntime) -> GateResult:
    """Load, compare the weights exactly, run every seed beside torch."""
    from pytest_modelcheck.runtimes import missing_provider, runtime_named

    runtime = runtime_named(expectation.name)
    if not runtime.installed:
        return _nothing(modelcheck, expectation, Verdict.ERROR, "not installed", f"Install it: {runtime.install}")
    if missing := missing_provider(expectation.provider, expectation.name):
        return _nothing(modelcheck, expectation, Verdict.INCONCLUSIVE, f"nothing measured: {missing}", _ELSEWHERE)
    with _files(modelcheck, expectation) as files:
        return _checked(modelcheck, expectation, files)


def _checked(modelcheck: ModelCheck, expectation: ExpectRuntime, files: Mapping[str, Path]) -> GateResult:
    from pytest_modelcheck.runtimes import runtime_named

    runtime, report = runtime_named(expectation.name), _measured(modelcheck, expectation, files)
    pairs = ", ".join(f"{pair.reference} -> {pair.candidate} {pair.scaled_max:.1e}" for pair in report.pairs)
    varied = f", {report.varied} of them varied" if report.varied else ""
    weights = "" if report.weights is None else f", {report.weights} weights compared"
    fixed = f", at the sizes of the example: {report.fixed}" if report.fixed else ""
    measured = (
        f"{pairs} (version {runtime.version()}) over {report.seeds} seeds{varied}{weights}{fixed}" if pairs else ""
    )
    findings = tuple(_in_context(modelcheck, finding) for finding in report.findings)
    if runtime.of_module and not pairs and (call := _alternative(modelcheck, expectation)):
        step = f"Call {call} in build(): {runtime.title} loads the module then."
        findings = tuple(dataclasses.replace(finding, next=step) for finding in findings)
    result = GateResult(
        gate=GATE.name, measured=measured, findings=findings, figures=_figures(report, expectation.name, measured)
    )
    return _with_deployed(modelcheck, expectation, result, files) if report.pairs else result


def _alternative(modelcheck: ModelCheck, expectation: ExpectRuntime) -> str:
    """The call with which the runtime loads the module, if it has one of its own."""
    from pytest_modelcheck.export.alternatives import working_alternative
    from pytest_modelcheck.runtimes import open_session

    side = modelcheck.torch

    def write() -> None:
        side.results.forget("captured")
        with tempfile.TemporaryDirectory() as folder:
            open_session(side.save_program(Path(folder) / "model.pt2"), _how(modelcheck, expectation))

    try:
        return working_alternative(side.module, write)
    finally:
        side.results.forget("captured")


@contextlib.contextmanager
def _files(modelcheck: ModelCheck, expectation: ExpectRuntime) -> Iterator[Mapping[str, Path]]:
    """Stage -> what the runtime loads, the one that is deployed last."""
    from pytest_modelcheck.runtimes import runtime_named

    if runtime_named(expectation.name).of_module:
        with tempfile.TemporaryDirectory() as folder:
            yield {"module": modelcheck.torch.save_program(Path(folder) / "model.pt2")}
        return
    files = {"exported": modelcheck.exported.path}
    if expectation.stage != "exported":
        _ = modelcheck.graphs.optimized  # raises where a pass failed
        files["optimized"] = modelcheck.graphs.optimized_path
    yield {stage: path for stage, path in files.items() if expectation.stage in (stage, "both")}


def _with_deployed(
    modelcheck: ModelCheck, expectation: ExpectRuntime, result: GateResult, files: Mapping[str, Path]
) -> GateResult:
    """The result with what is asked of the graph that the runtime makes; only where it could be loaded."""
    if not expectation.ops and expectation.latency is None:
        return result
    from pytest_modelcheck.check.results import merge_figures
    from pytest_modelcheck.gates import deployed_graph
    from pytest_modelcheck.runtimes import runtime_named

    runtime, how = runtime_named(expectation.name), _how(modelcheck, expectation)
    stage, path = [*files.items()][-1]
    further = []
    if expectation.ops:
        further.append(deployed_graph.operators(modelcheck, runtime, how, (stage, path), dict(expectation.ops)))
    if expectation.latency is not None:
        peer = modelcheck.graphs.optimized_path if runtime.of_module else path
        further.append(deployed_graph.latency(modelcheck, runtime, how, (stage, path), peer, expectation.latency))
    figures: dict[str, Any] = {}
    for each in (result, *further):
        merge_figures(figures, each.figures)
    return GateResult(
        gate=GATE.name,
        measured=", ".join(filter(None, (each.measured for each in (result, *further)))),
        findings=tuple(finding for each in (result, *further) for finding in each.findings),
        figures=figures,
    )


_ELSEWHERE = "Run where it is; modelcheck_inconclusive decides whether this fails."


def _how(modelcheck: ModelCheck, expectation: ExpectRuntime) -> How:
    from pytest_modelcheck.check.settings import own_cores
    from pytest_modelcheck.runtimes import How

    how = How(runtime=expectation.name, provider=expectation.provider, optimizer=True, threads=own_cores())
    return how.of(modelcheck.case)


def _measured(modelcheck: ModelCheck, expectation: ExpectRuntime, files: Mapping[str, Path]) -> RuntimeReport:
    from pytest_modelcheck.accuracy import Subject, Tolerances, check_in_runtime

    graphs, torch_side = modelcheck.graphs, modelcheck.source.torch

    def make() -> RuntimeReport:
        return check_in_runtime(
            files,
            graphs.inputs,
            Subject(
                case=modelcheck.case,
                module=None if torch_side is None else torch_side.lent,
                exported=graphs.exported_model,
                optimized=graphs.optimized if "optimized" in files else None,
                how=_how(modelcheck, expectation),
            ),
            seeds=range(expectation.seeds),
            varied=expectation.varied,
            tolerances=Tolerances(expectation.atol, expectation.rtol),
        )

    return modelcheck.once(("runtime", repr(expectation)), make, step=expectation.name)


def _in_context(modelcheck: ModelCheck, finding: Finding) -> Finding:
    context = ", ".join(part for part in (finding.context, modelcheck.settings.context) if part)
    return dataclasses.replace(finding, gate=GATE.name, context=context)


def _figures(report: RuntimeReport, name: str, measured: str) -> Mapping[str, Any]:
    from pytest_modelcheck.figures import json_number

    pairs = [
        {"reference": pair.reference, "candidate": pair.candidate, "scaled_max": json_number(pair.scaled_max)}
        for pair in report.pairs
    ]
    return {f"runtime {name}": {"pairs": pairs, "seeds": report.seeds, "text": measured or "not loaded"}}


def _nothing(modelcheck: ModelCheck, expectation: ExpectRuntime, verdict: Verdict, found: str, step: str) -> GateResult:
    finding = modelcheck.finding(
        GATE.name, expectation.name, "a runtime to run the graphs", found, next=step, verdict=verdict
    )
    return GateResult(gate=GATE.name, measured="", findings=(finding,))


GATE = Gate("expect_runtime", parse, check, validate)
