"""What all gates share: a gate is one marker, the reading of its arguments, and one check."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_modelcheck.bounds import ANY, Bound, Domain, parse_bound
from pytest_modelcheck.errors import BoundError, ModelCheckError
from pytest_modelcheck.result import Finding, Verdict

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck


class MarkerError(ModelCheckError, ValueError):
    """A marker whose name or arguments cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """What one gate says about one test.

    Attributes:
        gate: Name of the marker.
        measured: One short clause with the figures, e.g. ``"Attention 12, Transpose 4"``. A gate that measured nothing
            cannot pass.
        findings: What is wrong; empty for a pass.
        figures: What reports show of the measurement, as plain data by section: ``{"opset": {"text": "18"}}``. What
            several gates share is shown by `ModelCheck.once` instead.
        seconds: What the gate itself cost.

    Example:
        ``GateResult(gate="expect_ops", measured="Gemm 2").verdict`` is ``Verdict.PASS``.
    """

    gate: str
    measured: str
    findings: tuple[Finding, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the findings; `ERROR` where nothing was measured and nothing was found."""
        verdicts = {finding.verdict for finding in self.findings}
        for verdict in (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE):
            if verdict in verdicts:
                return verdict
        return Verdict.PASS if self.measured else Verdict.ERROR


@dataclass(frozen=True, slots=True)
class Gate:
    """One marker and its check.

    Attributes:
        name: The marker's name.
        parse: Takes the marker's arguments and returns an expectation, before anything is exported. Raises
            `MarkerError` or `BoundError`. Its signature and first docstring line are the marker's help.
        check: Measures and judges.
        validate: Holds an expectation against the names of the passes of the pipeline (empty for the default one),
            before anything is exported; for what needs onnx or the registry of passes, which `parse` must not load.
            Raises `MarkerError`.
        kinds: What the gate lets users lock: ``"module:attribute"`` of each `SnapshotKind`.

    Example:
        ``GATE = Gate("expect_opset", parse, check)``, registered as an entry point of the group
        ``pytest_modelcheck.gates`` under the marker's name, or by the ini option ``modelcheck_gates``.
    """

    name: str
    parse: Callable[..., Any]
    check: Callable[[ModelCheck, Any], GateResult]
    validate: Callable[[Any, tuple[str, ...]], None] | None = None
    kinds: tuple[str, ...] = ()

    @property
    def help(self) -> str:
        """The line that ``pytest --markers`` shows."""
        summary = (inspect.getdoc(self.parse) or "").partition("\n")[0]
        parameters = inspect.signature(self.parse).parameters.values()
        shown = ", ".join(str(p.replace(annotation=inspect.Parameter.empty)) for p in parameters)
        return f"{self.name}({shown}): {summary}"

    def expectation(self, args: tuple[Any, ...], kwargs: dict[str, Any], passes: tuple[str, ...] = ()) -> Any:
        """Read a marker's arguments.

        Args:
            args, kwargs: The marker's.
            passes: Names of the passes of the pipeline; empty for the default one.

        Raises:
            MarkerError: naming the marker, the argument and the close match.
        """
        try:
            inspect.signature(self.parse).bind(*args, **kwargs)
        except TypeError as error:
            known = list(inspect.signature(self.parse).parameters)
            unknown = [name for name in kwargs if name not in known]
            hint = suggestion(unknown[0], known) if unknown else ""
            raise MarkerError(f"{self.name}: {error}{hint}") from None
        try:
            expectation = self.parse(*args, **kwargs)
            if self.validate is not None:
                self.validate(expectation, passes)
        except ModelCheckError as error:
            raise MarkerError(f"{self.name}: {error}") from error
        return expectation


def named_bound(name: str, expected: Any, domain: Domain = ANY) -> Bound:
    """`parse_bound` whose error names the marker's argument as well."""
    try:
        return parse_bound(expected, domain)
    except BoundError as error:
        raise BoundError(f"{name}: {error}") from error


def percent_bound(name: str, expected: Any, domain: Domain, example: str) -> Bound | None:
    """As `named_bound`, of a percentage such as `example`; None where nothing is expected."""
    bound = None if expected is None else named_bound(name, expected, domain)
    if bound is not None and not bound.percent:
        raise BoundError(f'{name}={expected!r}: write a percentage, e.g. {name}="{example}"')
    return bound


_SHOWN = 5


def shortened(lines: Sequence[str]) -> tuple[str, ...]:
    """The first lines for a finding's ``where``, and how many more there are."""
    more = [f"... and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return (*lines[:_SHOWN], *more)


def existing_file(label: str, value: str | Path) -> Path:
    """A file named in a marker; a relative path starts at the working directory of the run.

    Raises:
        MarkerError: if there is none.
    """
    path = Path(value)
    if not path.is_file():
        raise MarkerError(f"{label}={str(value)!r}: there is no file {path.absolute()}")
    return path.absolute()


Choice = TypeVar("Choice", bound=str)


def choice(argument: str, value: str, choices: tuple[Choice, ...]) -> Choice:
    """`value`, as one of `choices`.

    Raises:
        MarkerError: naming the argument and the choices.
    """
    for known in choices:
        if known == value:
            return known
    raise MarkerError(f"{argument} {value!r} is unknown; choose {', '.join(choices[:-1])} or {choices[-1]}")


def suggestion(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'cleanup_attention'?"``, or the choices where nothing is close."""
    choices = list(known)
    close = difflib.get_close_matches(word, choices, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(choices)}" if choices else ""
