"""Verdicts and findings: what a gate says, and the one shape in which a failure is shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pytest_modelcheck.errors import ModelCheckError


class Verdict(StrEnum):
    """The outcome of one gate. `INCONCLUSIVE` exists for latency noise only; an unmeasured thing is an `ERROR`."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Refused:
    """A rewrite that was considered and not made.

    Attributes:
        reason: One clause in plain words, e.g. ``"the Conv output is used 2 times"``; equal causes use equal text.
        node: Name of the node the rewrite would have started from; of its first output where it has no name.
    """

    reason: str
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a gate found wrong, where, and what to do next.

    Attributes:
        gate: Name of the marker, or ``"snapshot"``.
        model: Name of the model case.
        subject: What was measured, e.g. ``"Attention"`` or ``"output 'logits'"``.
        expected: The bound, with unit and tolerance where it has them.
        found: The measurement, with its unit, or why there is none.
        context: What the measurement is of, e.g. ``"optimized, target opset23"``.
        where: One line per place, most specific first.
        next: What the reader can do about it.
        verdict: Never `Verdict.PASS`.
        missed: Whether an inconclusive measurement has its estimate outside the bound.

    Example:
        ``Finding(gate="expect_ops", model="mlp", subject="Gemm", expected="2", found="1").render()`` is
        ``"expect_ops: Gemm expected 2, found 1 in mlp"``.
    """

    gate: str
    model: str
    subject: str
    expected: str
    found: str
    context: str = ""
    where: tuple[str, ...] = ()
    next: str = ""
    verdict: Verdict = Verdict.FAIL
    missed: bool = False

    def render(self) -> str:
        """The finding as text: one headline, then the labelled blocks `where:` and `next:`."""
        context = f" ({self.context})" if self.context else ""
        mark = "" if self.verdict is Verdict.FAIL else f"[{self.verdict}] "
        lines = [
            f"{mark}{self.gate}: {self.subject} expected {self.expected}, found {self.found} in {self.model}{context}"
        ]
        lines += _labelled("where:", self.where)
        lines += _labelled("next:", tuple(self.next.splitlines()))
        return printable("\n".join(lines))


def error_finding(
    gate: str, model: str, subject: str, expected: str, found: str, *, where: tuple[str, ...] = (), next: str = ""
) -> Finding:
    """A finding of verdict `error`: something was not measured."""
    verdict = Verdict.ERROR
    return Finding(
        gate=gate, model=model, subject=subject, expected=expected, found=found, where=where, next=next, verdict=verdict
    )


def short_form(findings: Sequence[Finding]) -> str:
    """One line that begins with gate and model, of which pytest's short summary shows as much as fits.

    >>> short_form([Finding(gate="expect_ops", model="net", subject="Gemm", expected="3", found="2")])
    'expect_ops in net: Gemm expected 3, found 2'
    """
    first, *rest = findings
    more = f"; and {len(rest)} more" if rest else ""
    return printable_line(
        f"{first.gate} in {first.model}: {first.subject} expected {first.expected}, found {first.found}{more}"
    )


_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_COMMAND = re.compile(r"^(\s*):(?=:)", re.MULTILINE)


def printable(text: str) -> str:
    """Escape what a model's names could do to a terminal or a CI log: control characters, ``::error::`` on a line.

    >>> printable("a\\x1b[31mb") == r"a\x1b[31mb"
    True
    """
    escaped = _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
    return _COMMAND.sub(r"\1\\x3a", escaped)


def printable_line(text: str) -> str:
    """`printable`, for what is one line: a newline in it is a name's own, and is escaped too."""
    return printable(text.replace("\n", "\\n"))


def first_lines(lines: Sequence[str], shown: int, what: str = "") -> tuple[str, ...]:
    """Shorten the lines of a finding's ``where`` and count the rest.

    >>> first_lines(("a", "b", "c"), 1, "places")
    ('a', '... and 2 more places')
    """
    rest = len(lines) - shown
    return (*lines[:shown], *([f"... and {rest} more {what}".rstrip()] if rest > 0 else []))


def listed(items: Sequence[str], shown: int, separator: str = ", ") -> str:
    """Join the first items and count the rest.

    >>> listed(("a", "b", "c"), 1)
    'a and 2 more'
    """
    rest = len(items) - shown
    return separator.join(items[:shown]) + (f" and {rest} more" if rest > 0 else "")


def _labelled(label: str, lines: tuple[str, ...]) -> list[str]:
    return [f"  {label if i == 0 else '':<7}{line}" for i, line in enumerate(lines)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What differs between a recorded result and today's, where equal text is not the measure.

    Attributes:
        found: One clause, e.g. ``"the function changed, first at the output of norm (LayerNorm)"``; empty for no
            difference that counts.
        where: One line per place.
        stale: Whether the recorded text should be renewed although nothing that counts differs: renamed weights.
    """

    found: str = ""
    where: tuple[str, ...] = ()
    stale: bool = False


class FindingError(ModelCheckError):
    """Raised where a result is asked for that cannot exist, e.g. the graph of an export that failed."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.render())
        self.finding = finding


def close_match(name: str, names: Iterable[str]) -> str:
    """`` (did you mean 'ids'?)``; empty where nothing is close."""
    import difflib

    matches = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
