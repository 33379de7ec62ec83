"""Known failures: a table of what fails and is meant to be left so for now, with the reason and an end.

```toml
[[failure]]
case = "bert-base"                       # name of the model case
gate = "expect_accuracy"                 # a marker, "snapshot" or "export"
reason = "torch 2.14 decomposes gelu differently"
exporter = "dynamo"                      # left out: each
link = "https://github.com/pytorch/pytorch/issues/1"
versions = { torch = ">=2.14,<2.15" }    # left out: always
```

A failure that a row describes is expected (`x` in pytest's summary); a row whose tests all pass says that it can go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.errors import OptionError

if TYPE_CHECKING:
    from pytest_modelcheck.result import Finding

OPTION = "modelcheck_known_failures"

_NEEDED = ("case", "gate", "reason")
_TEXTS = (*_NEEDED, "exporter", "link")
_EXPORTERS = ("dynamo", "torchscript", "onnx")
_OTHER_GATES = {"snapshot": "snapshot", "export": "modelcheck"}
"""What is no marker and can fail, as rows call it and as findings do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFailure:
    """One row.

    Attributes:
        place: File and number of the row, as messages name it.
        case, gate, reason, exporter, link: As in the file; exporter None for each.
        versions: Library -> bounds, all of which must hold.
    """

    place: str
    case: str
    gate: str
    reason: str
    exporter: str | None = None
    link: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def is_about(self, case: str, exporter: str) -> bool:
        """Whether a case, exported so, is the row's."""
        return self.case == case and self.exporter in (None, exporter)

    def describes(self, finding: Finding) -> bool:
        """Whether a finding about the row's case is the one that is expected."""
        return finding.gate == _OTHER_GATES.get(self.gate, self.gate)

    @property
    def in_force(self) -> bool:
        """Whether the installed libraries are of the row's versions; one that is not installed is of none."""
        from packaging.specifiers import SpecifierSet

        try:
            return all(
                SpecifierSet(bounds).contains(metadata.version(library), prereleases=True)
                for library, bounds in self.versions.items()
            )
        except metadata.PackageNotFoundError:
            return False

    def __str__(self) -> str:
        exporter = f" [{self.exporter}]" if self.exporter else ""
        return f"{self.place} ({self.case}{exporter}, {self.gate})"


def read_known_failures(path: Path, gates: Iterable[str]) -> tuple[KnownFailure, ...]:
    """The rows of a file.

    Args:
        path: The file.
        gates: Names of the markers that there are.

    Raises:
        OptionError: naming the row and what is wrong with it.
    """
    import tomllib

    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OptionError(f"{OPTION}: {path}: {error}") from error
    rows = table.get("failure", [])
    if set(table) - {"failure"} or not isinstance(rows, list):
        raise OptionError(f"{OPTION}: {path}: holds {', '.join(table)}; write each row as [[failure]]")
    known = (*gates, *_OTHER_GATES)
    return tuple(_row(f"{path.name}, row {number}", row, known) for number, row in enumerate(rows, 1))


def _row(place: str, row: Any, gates: Sequence[str]) -> KnownFailure:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    def wrong(text: str) -> OptionError:
        return OptionError(f"{OPTION}: {place}: {text}")

    if missing := [name for name in _NEEDED if not row.get(name)]:
        raise wrong(f"has no {', '.join(missing)}")
    if unknown := sorted(set(row) - {*_TEXTS, "versions"}):
        raise wrong(f"{unknown[0]!r} is unknown; known: {', '.join((*_TEXTS, 'versions'))}")
    for name in _TEXTS:
        if not isinstance(row.get(name, ""), str):
            raise wrong(f"{name} must be text, got {row[name]!r}")
    if row["gate"] not in gates:
        raise wrong(f"gate {row['gate']!r} is unknown; choose one of {', '.join(gates)}")
    if "exporter" in row and row["exporter"] not in _EXPORTERS:
        raise wrong(f"exporter {row['exporter']!r} is unknown; choose one of {', '.join(_EXPORTERS)}")
    versions = row.get("versions", {})
    if not isinstance(versions, dict):
        raise wrong(f'versions must be a table such as {{ torch = ">=2.14,<2.15" }}, got {versions!r}')
    for library, bounds in versions.items():
        try:
            SpecifierSet(bounds)
        except (InvalidSpecifier, TypeError, AttributeError):
            raise wrong(f"versions.{library}: {bounds!r} is no version bound such as '>=2.14,<2.15'") from None
    return KnownFailure(place=place, **row)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the table says of one test.

    Attributes:
        rows: Those that are about the test's case and one of its gates, and in force.
        findings: The failing findings of the test.
    """

    rows: tuple[KnownFailure, ...] = ()
    findings: tuple[Finding, ...] = ()

    def row_of(self, finding: Finding) -> KnownFailure | None:
        """The row that expects a finding."""
        return next((row for row in self.rows if row.describes(finding)), None)

    @property
    def reason(self) -> str:
        """Why the test is expected to fail; empty where a finding is of no row, or there is none."""
        rows = [self.row_of(finding) for finding in self.findings]
        if not rows or None in rows:
            return ""
        said = dict.fromkeys(f"{row.reason} {row.link}".strip() for row in rows if row is not None)
        return f"known failure: {'; '.join(said)}"

    def as_rows(self) -> list[dict[str, Any]]:
        """For the report: each row, and whether it failed here."""
        return [
            {
                "row": str(row),
                "gate": row.gate,
                "reason": row.reason,
                "link": row.link,
                "failed": any(row.describes(finding) for finding in self.findings),
            }
            for row in self.rows
        ]


def expected(
    rows: Sequence[KnownFailure], case: str, exporter: str, gates: Iterable[str], findings: Sequence[Finding]
) -> Expected:
    """What the table says of a test that checked a case by these gates (``snapshot`` among them) and found this."""
    asked = {*gates, "export"}
    met = (row for row in rows if row.is_about(case, exporter) and row.gate in asked and row.in_force)
    return Expected(tuple(met), tuple(findings))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a whole run says of the table.

    Attributes:
        lines: For the summary: what failed as expected, what passes now, and what was met by no test.
        passing: Rows that can go.
        unmet: Rows in force that no test met.
    """

    lines: tuple[str, ...]
    passing: tuple[str, ...]
    unmet: tuple[str, ...]


def outcome(table: Sequence[KnownFailure], tests: Iterable[Mapping[str, Any]]) -> Outcome:
    """Put together what the tests of a run (rows of the report) met.

    Args:
        table: All rows of the file.
        tests: Each with what `Expected.as_rows` gave, under ``known``.
    """
    met: dict[str, list[Mapping[str, Any]]] = {}
    for test in tests:
        for entry in test.get("known", ()):
            met.setdefault(entry["row"], []).append(entry)
    failed = {row: entries[0] for row, entries in met.items() if any(entry["failed"] for entry in entries)}
    passing = tuple(row for row in met if row not in failed)
    missing = tuple(str(row) for row in table if str(row) not in met and row.in_force)
    lines = [f"known failure: {row}: {entry['reason']} {entry['link']}".rstrip() for row, entry in failed.items()]
    lines += [f"passes now: {row}: remove this row" for row in passing]
    lines += [f"met by no test of this run: {row}" for row in missing]
    return Outcome(tuple(lines), passing, missing)


def check_cases(table: Sequence[KnownFailure], names: Iterable[str]) -> None:
    """Check that there is a case for every row.

    Raises:
        OptionError: naming the first row without one, and the cases that there are.
    """
    there = sorted(set(names))
    for row in table:
        if row.case not in there:
            raise OptionError(f"{OPTION}: {row} matches nothing: there is no such case; cases: {', '.join(there)}")
