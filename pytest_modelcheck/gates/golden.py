"""``expect_golden``: outputs against a file that another framework, another version, or an earlier run computed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, choice, existing_file
from pytest_modelcheck.gates.tolerances import Width, read_width

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.golden import GoldenReport

Stage = Literal["torch", "exported", "optimized"]
_UPDATE = "run pytest --modelcheck --snapshot-update"
STAGES: tuple[Stage, ...] = get_args(Stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectGolden:
    """The file, what is compared with it, and the tolerances (accuracy/tolerance.py has the formula).

    Without a path the file is one that ``--snapshot-update`` records beside the snapshots of the test.
    """

    path: Path | None
    stage: Stage
    atol: Width
    rtol: Width


def parse(path: Any = None, stage: str = "torch", atol: Any = None, rtol: Any = None) -> ExpectGolden:
    """the torch module (or stage="exported", "optimized") gives the outputs of this golden file, or of the recorded one

    Raises:
        MarkerError: on a file that does not exist, an unknown stage, or a bad tolerance.
    """
    if not isinstance(path, str | Path | None):
        raise MarkerError(f"path={path!r} must be the path of a golden file")
    return ExpectGolden(
        path=None if path is None else existing_file("path", path),
        stage=choice("stage", stage, STAGES),
        atol=read_width("atol", atol),
        rtol=read_width("rtol", rtol),
    )


def check(modelcheck: ModelCheck, expectation: ExpectGolden) -> GateResult:
    """Compare with the file, then examine the comparison itself; record the file where the run records."""
    from pytest_modelcheck.golden import GoldenError

    if expectation.path is not None:
        return _result(_report(modelcheck, expectation, expectation.path))
    if modelcheck.locked.file is None:
        finding = modelcheck.finding(
            GATE.name, "golden", "a file", "none: outside a pytest run nothing is recorded; name a path"
        )
        return GateResult(gate=GATE.name, measured="", findings=(finding,))
    path = modelcheck.locked.file("golden.npz")
    try:
        return _recorded(modelcheck, expectation, path)
    except GoldenError as error:
        finding = modelcheck.finding(
            GATE.name, "golden", "a usable reference", str(error), next=f"To record it again, {_UPDATE}."
        )
        return GateResult(gate=GATE.name, measured="", findings=(finding,))


def _recorded(modelcheck: ModelCheck, expectation: ExpectGolden, path: Path) -> GateResult:
    """The result against the file that is recorded for the running test."""
    if not path.is_file() and not modelcheck.locked.updating:
        from pytest_modelcheck.snapshots.extension import shown

        finding = modelcheck.finding(
            GATE.name,
            "golden",
            f"a recorded reference in {shown(path)}",
            "no such file",
            next=f"To record it, {_UPDATE} and commit the file. If it was deleted by mistake, restore it.",
        )
        return GateResult(gate=GATE.name, measured="", findings=(finding,))
    if modelcheck.locked.updating and not _is_right(modelcheck, expectation, path):
        from pytest_modelcheck.golden import record_golden

        torch = modelcheck.torch
        record_golden(path, modelcheck.case, torch.module, torch.inputs, modelcheck.versions)
    return _result(_report(modelcheck, expectation, path), lead=f"If the change is meant, {_UPDATE}.")


def _is_right(modelcheck: ModelCheck, expectation: ExpectGolden, path: Path) -> bool:
    """Whether the module itself gives what is recorded: then the file stays as it is, byte for byte."""
    from pytest_modelcheck.golden import GoldenError

    try:
        return path.is_file() and _compare(modelcheck, dataclasses.replace(expectation, stage="torch"), path).passed
    except GoldenError:
        return False


def _report(modelcheck: ModelCheck, expectation: ExpectGolden, path: Path) -> GoldenReport:
    key = ("golden", repr(expectation), path, path.stat().st_mtime_ns)
    return modelcheck.once(key, lambda: _compare(modelcheck, expectation, path), step="golden")


def _result(report: GoldenReport, *, lead: str = "") -> GateResult:
    findings = tuple(
        dataclasses.replace(finding, gate=GATE.name, next="\n".join(part for part in (finding.next, lead) if part))
        for finding in report.findings
    )
    measured = report.text if report.comparisons else ""
    return GateResult(gate=GATE.name, measured=measured, findings=findings, figures={"parity": {"golden": report.text}})


def _compare(modelcheck: ModelCheck, expectation: ExpectGolden, path: Path) -> GoldenReport:
    from pytest_modelcheck.accuracy import Tolerances
    from pytest_modelcheck.accuracy.stages import feeds_for
    from pytest_modelcheck.golden import check_golden, read_golden
    from pytest_modelcheck.runtimes import open_session

    stage, torch = expectation.stage, modelcheck.torch
    model = None if stage == "torch" else modelcheck.exported.path if stage == "exported" else modelcheck.optimized
    session = None if model is None else open_session(model, name=stage)
    return check_golden(
        read_golden(path),
        modelcheck.case,
        torch.module,
        torch.inputs,
        candidate=None if session is None else lambda inputs: session.run(feeds_for(session, inputs)),
        stage=stage,
        versions=modelcheck.versions,
        tolerances=Tolerances(expectation.atol, expectation.rtol),
    )


GATE = Gate("expect_golden", parse, check)
