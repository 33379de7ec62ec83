"""Reading a test's markers before anything runs, and running every gate of a test, together."""

from __future__ import annotations

import difflib
import re
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.errors import DISK_FULL_NEXT, DISK_FULL_SIGN, ModelCheckError
from pytest_modelcheck.gates import Gate, GateResult, Gates, MarkerError
from pytest_modelcheck.result import Finding, FindingError, Verdict

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck


@dataclass(frozen=True, slots=True)
class Declared:
    """One marker on one test: the gate and what it expects.

    Attributes:
        gate: The gate.
        expectation: Its arguments, read.
        place: Where the arguments are written, if not in the test's marker: ``pyproject.toml [tool.modelcheck]``.
    """

    gate: Gate
    expectation: Any
    place: str = ""

    def located(self, finding: Finding) -> Finding:
        """The finding, whose next step names the place where the arguments are written."""
        return replace(finding, next=finding.next.replace("the marker", self.place)) if self.place else finding


def declare(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], gates: Gates, passes: tuple[str, ...] = ()
) -> Declared | None:
    """Read one marker; None where it is none of ours.

    Args:
        name, args, kwargs: The marker.
        gates: The gates that there are.
        passes: Names of the passes of the pipeline; empty for the default one.

    Raises:
        MarkerError: on a bad argument, or on a name that is nearly that of a gate.
    """
    if name in gates:
        gate = gates[name]
        return Declared(gate, gate.expectation(args, kwargs, passes))
    if name[:1] in "eE" and (close := difflib.get_close_matches(name.lower(), gates, n=1, cutoff=0.8)):
        raise MarkerError(f"marker {name!r} is unknown; did you mean {close[0]!r}?")
    return None


def evaluate(modelcheck: ModelCheck, declared: Sequence[Declared]) -> tuple[GateResult, ...]:
    """Run every gate, whatever the others say."""
    with modelcheck.judging():
        return tuple(_evaluate_one(modelcheck, entry) for entry in declared)


def _evaluate_one(modelcheck: ModelCheck, entry: Declared) -> GateResult:
    started = time.perf_counter()
    try:
        result = entry.gate.check(modelcheck, entry.expectation)
    except FindingError as error:
        result = GateResult(gate=entry.gate.name, measured="", findings=(error.finding,))
    except ModelCheckError as error:
        result = GateResult(gate=entry.gate.name, measured="", findings=(_error(modelcheck, entry, str(error)),))
    except Exception as error:  # one gate that breaks must not hide the verdicts of the others
        frame = traceback.extract_tb(error.__traceback__)[-1]
        found = f"the gate broke: {type(error).__name__}: {error}"
        place = f"{frame.filename}:{frame.lineno} in {frame.name}"
        finding = replace(_error(modelcheck, entry, found), where=(place,), next=_way_out(error))
        result = GateResult(gate=entry.gate.name, measured="", findings=(finding,))
    if not result.measured and not result.findings:
        result = replace(result, findings=(_error(modelcheck, entry, "nothing was measured"),))
    findings = tuple(map(entry.located, result.findings))
    return replace(result, findings=findings, seconds=time.perf_counter() - started)


def _way_out(error: Exception) -> str:
    return DISK_FULL_NEXT if isinstance(error, OSError) and re.search(DISK_FULL_SIGN, str(error)) else ""


def _error(modelcheck: ModelCheck, entry: Declared, found: str) -> Finding:
    return modelcheck.finding(entry.gate.name, "verdict", "a measurement", found, context="", verdict=Verdict.ERROR)


def failing(results: Iterable[GateResult], inconclusive: str) -> tuple[Finding, ...]:
    """The findings that fail a test, each once.

    Args:
        inconclusive: ``warn``, ``fail``, ``skip``, or ``missed``: as ``fail`` where the estimate misses the bound.
    """
    findings = (finding for result in results for finding in result.findings)
    return tuple(dict.fromkeys(finding for finding in findings if _fails(finding, inconclusive)))


def _fails(finding: Finding, inconclusive: str) -> bool:
    if finding.verdict is Verdict.INCONCLUSIVE:
        return inconclusive == "fail" or (inconclusive == "missed" and finding.missed)
    return finding.verdict in (Verdict.FAIL, Verdict.ERROR)


def inconclusive_findings(results: Iterable[GateResult]) -> tuple[Finding, ...]:
    """The findings that could not decide."""
    findings = (finding for result in results for finding in result.findings)
    return tuple(finding for finding in findings if finding.verdict is Verdict.INCONCLUSIVE)
