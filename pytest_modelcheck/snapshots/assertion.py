"""`modelcheck_snapshot`: equal to a result if its canonical text is the recorded one; else it says what changed where.

syrupy does what its users know it for (``--snapshot-update``, unused snapshots, its report); here a result becomes
text, and a mismatch becomes a Finding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from syrupy.assertion import SnapshotAssertion

from pytest_modelcheck.model_case import EXPORTERS
from pytest_modelcheck.result import Change, Finding, FindingError, Verdict, first_lines
from pytest_modelcheck.snapshots.extension import shown
from pytest_modelcheck.snapshots.kinds import KINDS, SnapshotKind, kind_of
from pytest_modelcheck.snapshots.text import REORDERED, compose, differences_found, split, version_changes

_EXPLAINED = "the result is not the recorded one"
UPDATE = "run pytest --modelcheck --snapshot-update"
_SHOWN = 12

AS_LOCKED = "the optimized graph is the locked one, node for node (values of weights aside)"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotContext:
    """What a snapshot knows of the test it is used in.

    Attributes:
        model: The label of the model case in findings.
        context: Exporter and target, for the finding's headline.
        versions: Library -> version, now; more are known once the model is.
        kinds: What can be locked.
    """

    model: str
    context: str
    versions: Callable[[], Mapping[str, str]]
    kinds: Sequence[SnapshotKind] = KINDS


@runtime_checkable
class Lockable(Protocol):
    """A check as a whole: `ModelCheck`."""

    @property
    def lockable(self) -> tuple[str, ...]:
        """The kinds of results that one comparison locks, each an attribute of that name."""


@dataclass(eq=False)
class ModelCheckSnapshot:
    """``assert modelcheck == modelcheck_snapshot``, or one result of it; each kind of result has its own file.

    Args:
        syrupy: The assertion object of the running test, with our extension.
        context: What findings need to know.
    """

    syrupy: SnapshotAssertion
    context: SnapshotContext
    findings: list[Finding] = field(default_factory=list)
    drawn: list[dict[str, Any]] = field(default_factory=list)
    _asserted: dict[str, int] = field(default_factory=dict)
    _texts: dict[str, str] = field(default_factory=dict)
    _newest: int = 0  # the first finding of the newest comparison
    _as_locked: bool | None = None  # whether the optimized graph is the recorded one, as far as that is known

    def __eq__(self, result: object) -> bool:
        if isinstance(result, Lockable):
            return self._whole(result)
        self._newest = len(self.findings)
        same = self._same(result)
        self._say_what_is_as_locked()
        return same

    def _whole(self, check: Lockable) -> bool:
        """Compare every kind of result that the case has, all of them even where the first differs."""
        self._newest = len(self.findings)
        for name in check.lockable:
            try:
                self._same(getattr(check, name))
            except FindingError as error:
                self._asserted[name] = self._asserted.get(name, 0) + 1
                self.findings.append(error.finding)
        self._say_what_is_as_locked()
        return len(self.findings) == self._newest

    def _same(self, result: object) -> bool:
        kind = kind_of(result, self.context.kinds)
        count = self._asserted[kind.name] = self._asserted.get(kind.name, 0) + 1
        name = kind.name if count == 1 else f"{kind.name}.{count}"
        recorded, updating = self.recorded(name), self.syrupy.update_snapshots
        text = None if kind.compared or updating else recorded
        before = None if recorded is None else split(recorded)
        change = None if before is None or not kind.compared else kind.change(before, result)
        digest = "" if kind.optimized is None else kind.optimized(result)
        if before is not None and before.optimized:
            self._as_locked = before.optimized == digest
        if before is not None and change is not None:
            if not updating:
                text = f"{recorded}{change.found}"  # equal texts, where nothing that counts changed
            elif not change.found and not change.stale and before.optimized == digest:
                text = recorded
        if text is None:
            text = compose(kind.name, kind.rule, self._versions, kind.render(result), kind.format, digest)
        self._texts[name] = text
        if self.syrupy(name=name) == text:
            return True
        self.findings.append(self._finding(kind, text, change or Change()))
        if recorded is not None and kind.drawn is not None:
            self.drawn += kind.drawn(split(recorded).body, result)
        return False

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "modelcheck_snapshot"

    def explain(self) -> list[str]:
        """The lines pytest shows for the comparison that just failed."""
        return [_EXPLAINED, *(line for each in self.findings[self._newest :] for line in each.render().splitlines())]

    def raised(self, error: BaseException | None) -> bool:
        """Whether `error` is the assertion of a comparison with this object.

        Without pytest's rewriting (a helper module, ``--assert=plain``) an assertion says nothing of its own.
        """
        says = str(error).partition("\n")[0].removeprefix("assert ")
        return isinstance(error, AssertionError) and bool(self.findings) and (not says or says in (_EXPLAINED, "False"))

    @property
    def compared(self) -> tuple[str, ...]:
        """The kinds of results that were compared."""
        return tuple(self._asserted)

    def compare_the_rest(self, results: object) -> None:
        """Compare what is recorded for this test and the failed body did not get to, so that one run shows all.

        Args:
            results: Has one attribute per kind, named like it.
        """
        for kind in KINDS:
            if kind.name not in self._asserted and self._location(kind.name).is_file():
                try:
                    self._same(getattr(results, kind.name))
                except FindingError as error:
                    self.findings.append(error.finding)
        self._say_what_is_as_locked()

    @property
    def as_locked(self) -> bool | None:
        """Whether the optimized graph is the one that was recorded; None where nothing says so."""
        return self._as_locked

    def _say_what_is_as_locked(self) -> None:
        self.findings[:] = map(self._with_what_is_as_locked, self.findings)

    def _with_what_is_as_locked(self, finding: Finding) -> Finding:
        if not self._as_locked or AS_LOCKED in finding.where or finding.verdict is not Verdict.FAIL:
            return finding
        return replace(finding, where=(AS_LOCKED, *finding.where))

    def recorded(self, name: str) -> str | None:
        """What is locked for this test under a kind: what this run is recording, else the file; None without either."""
        if name in self._texts and self.syrupy.update_snapshots:
            return self._texts[name]
        location = self._location(name)
        return location.read_text(encoding="utf-8", errors="replace") if location.is_file() else None

    def drift(self, gates: bool) -> dict[str, tuple[str, str]]:
        """Library -> (version that recorded the snapshots of this test, today's), of those that differ.

        Args:
            gates: Whether a gate found something, in which any library may have a part; else those alone that have one
                in what changed.
        """
        now, changed = self.context.versions(), {finding.subject for finding in self.findings}
        steps: dict[str, tuple[str, str]] = {}
        for kind in self.context.kinds:
            text = self.recorded(kind.name) if gates or kind.name in changed else None
            for name, was in ({} if text is None else split(text).versions).items():
                if now.get(name, was) != was and (gates or name not in kind.unrelated):
                    steps[name] = (was, now[name])
        return steps

    def since_recording(self, finding: Finding) -> Finding:
        """A gate's finding whose next step begins with the version steps since the snapshots were recorded."""
        before = {name: was for name, (was, _) in self.drift(gates=True).items()}
        steps = version_changes(before, self.context.versions())
        finding = self._with_what_is_as_locked(finding)
        return replace(finding, next=f"{steps[0].upper()}{steps[1:]}. {finding.next}".rstrip()) if steps else finding

    def _location(self, name: str) -> Path:
        return Path(self.syrupy.extension.get_location(test_location=self.syrupy.test_location, index=name))

    def _finding(self, kind: SnapshotKind, text: str, change: Change) -> Finding:
        execution = self.syrupy.executions[self.syrupy.num_executions - 1]
        location = shown(execution.snapshot_location)
        finding = partial(Finding, gate="snapshot", model=self.context.model, context=self.context.context)
        if execution.exception is not None:
            return finding(
                subject=kind.name,
                expected=f"a recorded snapshot in {location}",
                found=f"{type(execution.exception).__name__}: {execution.exception}",
                next=f"Delete or restore what is there; to record it again, {UPDATE}.",
                verdict=Verdict.ERROR,
            )
        if execution.recalled_data is None:
            other = self._of_the_other_exporter(Path(str(execution.snapshot_location)))
            return finding(
                subject=kind.name,
                expected=f"a recorded snapshot in {location}",
                found="no such file" if other is None else f"no such file; against {other.name}, of the other exporter",
                where=() if other is None else _against(kind, other, text),
                next=f"To record it, {UPDATE} and commit the file. If it was deleted by mistake, restore it.",
            )
        recorded = split(str(execution.recalled_data))
        changed = change.where if change.found else kind.differences(recorded.body, split(text).body) or (REORDERED,)
        took_part = {name: was for name, was in recorded.versions.items() if name not in kind.unrelated}
        versions = version_changes(took_part, self._versions)
        lead = f"{versions[0].upper()}{versions[1:]}. " if versions else ""
        meant = "To upgrade the file" if recorded.format < kind.format else "If the change is meant"
        return finding(
            subject=kind.name,
            expected="the recorded rows",
            found=change.found or differences_found(changed),
            where=changed,
            next=f"{lead}{meant}, {UPDATE} and review the diff of\n{location}",
        )

    @property
    def _exporter(self) -> str:
        return self.context.context.partition(",")[0]

    @property
    def _versions(self) -> dict[str, str]:
        """What the header says of how a file was made."""
        return {**self.context.versions(), "exporter": self._exporter}

    def _of_the_other_exporter(self, location: Path) -> Path | None:
        """The same test's file, recorded when its case was exported by the other exporter; None if there is none."""
        if self._exporter not in EXPORTERS:
            return None
        others = (location.with_name(location.name.replace(self._exporter, name)) for name in EXPORTERS)
        return next((path for path in others if path != location and path.is_file()), None)


def _against(kind: SnapshotKind, other: Path, text: str) -> tuple[str, ...]:
    """What differs from another file's rows, the first lines of it."""
    recorded = split(other.read_text(encoding="utf-8"))
    if recorded.format != kind.format:
        return (f"{other.name} has rows of an earlier format",)
    lines = kind.differences(recorded.body, split(text).body) or ("the rows are equal",)
    return first_lines(lines, _SHOWN)
