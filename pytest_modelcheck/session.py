"""One pytest run: the checks it holds, the results of its tests, and what they add up to."""

from __future__ import annotations

import contextlib
import sys
import warnings
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_modelcheck.configuration import Configuration, read_configuration
from pytest_modelcheck.declarations import TEST, Declarations, TestState
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.gates import GateResult, MarkerError, registered_gates
from pytest_modelcheck.gates.evaluate import evaluate, failing, inconclusive_findings
from pytest_modelcheck.known_failures import expected, read_known_failures
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.options import Options
from pytest_modelcheck.result import FindingError, printable
from pytest_modelcheck.targets import Target

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.report.progress import Progress
    from pytest_modelcheck.snapshots.assertion import ModelCheckSnapshot
    from pytest_modelcheck.snapshots.kinds import SnapshotKind

_SESSION = pytest.StashKey["Session"]()


@dataclass(slots=True)
class Session:
    """The state of one run. Held under a stash key of the pytest config."""

    options: Options
    config: pytest.Config
    declarations: Declarations
    models: list[str] = field(default_factory=list)
    outer_place: Any = None
    progress: Progress | None = None
    _checked: tuple[ModelCase, ModelCheck] | None = None

    def begin(self, item: pytest.Item) -> None:
        """Forget what an earlier attempt of the test left, where a plugin runs it again."""
        self.forget(item)
        item.user_properties = [each for each in item.user_properties if each[0] not in self.declarations.gates]

    def forget(self, item: pytest.Item) -> None:
        """Let go of what a test measured: pytest keeps its items, and so their checks, to the end of the run."""
        if (state := item.stash.get(TEST, None)) is not None:
            item.stash[TEST] = TestState(declared=state.declared)

    def check_for(self, item: pytest.Item, case: ModelCase) -> ModelCheck:
        """The check of a case; the last one is kept, so that the weights of one model at a time are in memory."""
        from pytest_modelcheck.check import Locked, ModelCheck
        from pytest_modelcheck.check.settings import share_cores

        if not isinstance(case, ModelCase):
            raise pytest.UsageError(f"the fixture `model_case` must return a ModelCase, got {type(case).__name__}")
        if self._checked is None or self._checked[0] is not case:
            check = ModelCheck(
                case,
                exporter=self.options.exporter,
                target=self._target(case),
                passes=self.declarations.pipeline(),
                cache=self.options.cache,
                latency_budget=self.options.latency_budget,
                export_timeout=self.options.export_timeout,
                progress=self.shown() or (lambda text: None),
            )
            self._checked = (case, check)
            share_cores()
        check = self._checked[1]
        updating = bool(getattr(item.config.option, "update_snapshots", False))
        check.locked = Locked(file=partial(_kept_file, item), updating=updating)
        item.stash.setdefault(TEST, TestState()).check = check
        return check

    def _target(self, case: ModelCase) -> Target:
        """The target of a case: the command line's, else that of its table in pyproject.toml, else the ini file's."""
        own = None if self.config.getoption("modelcheck_target") else self.declarations.configuration.target(case.name)
        return own or self.options.target

    def snapshot_for(self, item: pytest.Item, check: ModelCheck, syrupy: Any) -> ModelCheckSnapshot:
        """The snapshot assertion of one test."""
        from pytest_modelcheck.snapshots.assertion import ModelCheckSnapshot, SnapshotContext
        from pytest_modelcheck.snapshots.extension import ModelCheckExtension

        state = item.stash.setdefault(TEST, TestState())
        context = SnapshotContext(
            model=check.case.name,
            context=check.settings.context,
            versions=lambda: check.versions,
            kinds=self._kinds(),
        )
        state.snapshot = ModelCheckSnapshot(syrupy.use_extension(ModelCheckExtension), context)
        check.locked.text = state.snapshot.recorded
        return state.snapshot

    def _kinds(self) -> tuple[SnapshotKind, ...]:
        """What can be locked: our kinds, and those that gates bring."""
        from pytest_modelcheck.snapshots.kinds import KINDS, kinds_at

        return (*KINDS, *(kind for gate in self.declarations.gates.values() for kind in kinds_at(gate.kinds)))

    def judge(self, item: pytest.Item, error: BaseException | None) -> None:
        """Run every gate of a test after its body, and fail the test with everything that was found.

        Args:
            item: The test.
            error: What the body raised, if it did. Ours is shown as findings, without a traceback; any other one is
                raised again, with the findings as a note.

        Raises:
            pytest.fail.Exception: with the rendered findings; or `error`.
        """
        if not self.options.enabled:  # nothing was declared, and a marked test is skipped
            if error is not None:
                raise error
            return
        state = item.stash.get(TEST, TestState())
        try:
            state.declared = self.declarations.of(item)  # once more: fixtures and bodies may add markers
        except MarkerError as wrong:
            pytest.fail(str(wrong), pytrace=False)
        if state.check is not None:
            state.results = evaluate(state.check, state.declared)
        if state.snapshot is not None:
            state.results = tuple(_since_recording(state.snapshot, result) for result in state.results)
            if isinstance(error, FindingError):
                error = FindingError(state.snapshot.since_recording(error.finding))
        unclear = inconclusive_findings(state.results)
        findings = [finding.render() for finding in failing(state.results, self.options.inconclusive)]
        if isinstance(error, FindingError):
            state.body.append(error.finding)
        if isinstance(error, ModelCheckError):
            findings, error = [printable(str(error)), *findings], None
        if state.snapshot is not None and state.check is not None:
            if state.snapshot.findings:
                state.snapshot.compare_the_rest(state.check)
            state.body += state.snapshot.findings
            findings = [*(finding.render() for finding in state.snapshot.findings), *findings]
            if state.snapshot.raised(error):
                error = None
            if error is None and not findings and not state.snapshot.compared:
                findings.append(f"snapshot: {item.nodeid} uses modelcheck_snapshot and compares nothing with it")
        findings = list(dict.fromkeys(findings))
        self._expect(item, state)
        if error is None and state.expected.reason and set(findings) <= {f.render() for f in state.expected.findings}:
            pytest.xfail(state.expected.reason)
        if error is not None:
            if findings:
                error.add_note("\n\n".join(["the gates of this test say:", *findings]))
            raise error
        if findings:
            pytest.fail("\n\n".join(findings), pytrace=False)
        for finding in unclear:
            if self.options.inconclusive == "skip":
                pytest.skip(finding.render())
            with warnings.catch_warnings():
                warnings.simplefilter("always")  # -W error is about code; what this does is modelcheck_inconclusive
                item.warn(pytest.PytestWarning(finding.render()))

    def _expect(self, item: pytest.Item, state: TestState) -> None:
        """Look up what is known of the failures of a test; nothing under pytest's ``--runxfail``."""
        if state.check is None or item.config.option.runxfail:
            return
        found = [*state.body, *failing(state.results, self.options.inconclusive)]
        asked = [entry.gate.name for entry in state.declared] + ["snapshot"] * (state.snapshot is not None)
        settings = state.check.settings
        state.expected = expected(self.declarations.known, settings.model, settings.exporter, asked, found)

    def short_form(self, item: pytest.Item, error: BaseException) -> str:
        """What a failed test found, in one line."""
        return item.stash.get(TEST, TestState()).short(error, self.options.inconclusive)

    def unjudged(self, item: pytest.Item) -> str | None:
        """Why a test that passed must not: a marker of ours for which no gate ran; None if each did."""
        marked = [mark.name for mark in item.iter_markers() if mark.name in self.declarations.gates]
        state = item.stash.get(TEST, TestState())
        if not self.options.enabled or len(state.results) >= len(marked):
            return None
        return (
            f"{item.nodeid}: {', '.join(dict.fromkeys(marked))} never ran. Gates need the plugin's own fixture "
            f"`modelcheck` in a test function (not a unittest.TestCase), and markers set before the test ends."
        )

    def shown(self) -> Progress | None:
        """Progress past pytest's capturing: a line on a terminal, sometimes one in a log; none for -q and workers."""
        reporter = self.config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or reporter.verbosity < 0:
            return None
        if self.progress is None:  # one for all checks: it knows the line it overwrites, and when it last wrote one
            from pytest_modelcheck.report.progress import progress_of

            capture = self.config.pluginmanager.getplugin("capturemanager")
            with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
                self.progress = progress_of(sys.stderr if reporter.isatty else sys.stdout, terminal=reporter.isatty)
        return self.progress

    def row(self, item: pytest.Item, outcome: str) -> dict[str, Any] | None:
        """What the report says of one test, as plain data; None for a test that asks for no model check."""
        from pytest_modelcheck.report.rows import row_of_test

        state = item.stash.get(TEST, None)
        if state is None or (state.check is None and not state.declared):
            return None
        model = None if state.check is None else state.check.summary(result.figures for result in state.results)
        locked = () if state.snapshot is None else state.snapshot.compared
        file, line, _ = item.location
        known = state.expected.as_rows()
        place = (file, (line or 0) + 1)
        found = [*state.body, *(finding for result in state.results for finding in result.findings)]
        gates = any(finding.gate != "snapshot" for finding in found)
        drift = {} if state.snapshot is None else state.snapshot.drift(gates)
        changed = () if state.snapshot is None else state.snapshot.drawn
        row = row_of_test(item.nodeid, place, outcome, model, state.results, state.body, locked, known, drift, changed)
        return row | {"as_locked": None if state.snapshot is None else state.snapshot.as_locked}


def _since_recording(snapshot: ModelCheckSnapshot, result: GateResult) -> GateResult:
    return replace(result, findings=tuple(map(snapshot.since_recording, result.findings)))


def start(config: pytest.Config, options: Options) -> None:
    """Begin a run."""
    gates = registered_gates().and_named(options.gates)
    known = () if options.known_failures is None else read_known_failures(options.known_failures, gates)
    tables = read_configuration(config.rootpath, gates) if options.enabled else Configuration()
    session = config.stash[_SESSION] = Session(options, config, Declarations(options, config, gates, known, tables))
    if options.enabled:
        from pytest_modelcheck.snapshots.extension import ModelCheckExtension, SnapshotPlace

        session.outer_place = ModelCheckExtension.place
        ModelCheckExtension.place = SnapshotPlace(config.rootpath, options.snapshots)


def add_models(config: pytest.Config, options: Options) -> None:
    """Let the run collect a test for each model that the options name: beside the tests that were asked for, if any."""
    session = session_of(config)
    if hasattr(config, "workerinput"):
        session.models = config.workerinput["modelcheck_models"]
    else:
        from pytest_modelcheck.scaffold.unwritten_tests import write_tests

        session.models = write_tests(options.models, (options.cache or config.rootpath / ".modelcheck") / "models")
    asked = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else []
    config.args = [*asked, *session.models]


def stop(config: pytest.Config) -> None:
    """End a run: a run inside a run (pytester) gives the place of snapshots back."""
    session = config.stash.get(_SESSION, None)
    if session is not None and session.progress is not None:
        session.progress.close()
    if session is not None and session.options.enabled:
        from pytest_modelcheck.snapshots.extension import ModelCheckExtension

        ModelCheckExtension.place = session.outer_place


def session_of(config: pytest.Config) -> Session:
    """The running session."""
    return config.stash[_SESSION]


def marker_lines(config: pytest.Config) -> list[str]:
    """One line per gate: its help for ``--markers``, else its name, for which no gate has to be imported."""
    gates = session_of(config).declarations.gates
    return [gate.help for gate in gates.values()] if config.getoption("markers", False) else list(gates)


def properties(row: dict[str, Any] | None) -> list[tuple[str, object]]:
    """The verdict and the measurement of each gate, for reports of others: pytest writes them into its JUnit file."""
    gates = [] if row is None else row["gates"]
    return [(gate["gate"], f"{gate['verdict']}: {gate['measured']}") for gate in gates]


def _kept_file(item: pytest.Item, name: str) -> Path:
    """Where a gate keeps a file of its own for a test: beside its snapshots."""
    from syrupy.location import PyTestLocation

    from pytest_modelcheck.snapshots.extension import ModelCheckExtension

    beside = Path(ModelCheckExtension.get_location(test_location=PyTestLocation(item), index="kept"))
    return beside.with_name(f"{beside.name.removesuffix('.kept.txt')}.{name}")


def keep_snapshots(test: str) -> None:
    """Tell syrupy that a test did not get to all of its snapshots, so that none of them counts as unused.

    Without it ``--snapshot-update`` would delete the snapshots of every test that failed before its comparison.
    """
    running = getattr(sys.modules.get("syrupy"), "_syrupy", None)
    if running is not None:
        running.ran_item(test, "skipped")


def explain_snapshot(left: object, right: object) -> list[str] | None:
    """The lines for ``assert left == right`` where one side is `modelcheck_snapshot`; else None."""
    module = sys.modules.get("pytest_modelcheck.snapshots.assertion")
    if module is None:
        return None
    for side in (left, right):
        if isinstance(side, module.ModelCheckSnapshot):
            lines: list[str] = side.explain()
            return lines
    return None
