"""``expect_golden``: outputs against a file that another framework, or another version, computed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pytest_modelcheck.gates.accuracy import Width, read_width
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, choice, existing_file

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.golden import GoldenReport

Stage = Literal["torch", "exported", "optimized"]
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectGolden:
    """The file, what is compared with it, and the tolerances (accuracy/tolerance.py has the formula)."""

    path: Path
    stage: Stage
    atol: Width
    rtol: Width


def parse(path: Any, stage: str = "torch", atol: Any = None, rtol: Any = None) -> ExpectGolden:
    """the torch module (or stage="exported", "optimized") gives the outputs of this golden file, which is not blind

    Raises:
        MarkerError: on a file that does not exist, an unknown stage, or a bad tolerance.
    """
    if not isinstance(path, str | Path):
        raise MarkerError(f"path={path!r} must be the path of a golden file")
    return ExpectGolden(
        path=existing_file("path", path),
        stage=choice("stage", stage, STAGES),
        atol=read_width("atol", atol),
        rtol=read_width("rtol", rtol),
    )


def check(modelcheck: ModelCheck, expectation: ExpectGolden) -> GateResult:
    """Compare with the file, then examine the comparison itself."""
    report = modelcheck.once(("golden", expectation), lambda: _compare(modelcheck, expectation), step="golden")
    findings = tuple(dataclasses.replace(finding, gate=GATE.name) for finding in report.findings)
    measured = report.text if report.comparisons else ""
    return GateResult(gate=GATE.name, measured=measured, findings=findings, figures={"parity": {"golden": report.text}})


def _compare(modelcheck: ModelCheck, expectation: ExpectGolden) -> GoldenReport:
    from pytest_modelcheck.accuracy import Tolerances
    from pytest_modelcheck.accuracy.stages import feeds_for
    from pytest_modelcheck.golden import check_golden, read_golden
    from pytest_modelcheck.runtimes import open_session

    stage, torch = expectation.stage, modelcheck.torch
    model = None if stage == "torch" else modelcheck.exported.path if stage == "exported" else modelcheck.optimized
    session = None if model is None else open_session(model, name=stage)
    return check_golden(
        read_golden(expectation.path),
        modelcheck.case,
        torch.module,
        torch.inputs,
        candidate=None if session is None else lambda inputs: session.run(feeds_for(session, inputs)),
        stage=stage,
        versions=modelcheck.settings.versions,
        tolerances=Tolerances(expectation.atol, expectation.rtol),
    )


GATE = Gate("expect_golden", parse, check)
