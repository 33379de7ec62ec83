"""What a run shows and writes at its end, from what its tests sent."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

from pytest_modelcheck.declarations import is_whole
from pytest_modelcheck.known_failures import KnownFailure, outcome
from pytest_modelcheck.options import Options
from pytest_modelcheck.result import printable_line

if TYPE_CHECKING:
    from pytest_modelcheck.report.progress import Progress

_OUTCOMES = ("passed", "failed", "skipped")
_CUT_SHORT = (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR)


class Running:
    """The hooks that show which test of the workers has lasted longest; registered where xdist starts workers.

    Args:
        shown: The progress of this run, asked for when a test begins; None where none is shown.
        clock: Seconds, of the progress too.
    """

    def __init__(self, shown: Callable[[], Progress | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._shown, self._clock = shown, clock
        self._since: dict[str, float] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._since[nodeid] = self._clock()
        self._show()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when not in ("setup", "call"):  # torn down, or its worker crashed
            self._since.pop(report.nodeid, None)
            self._show()

    def _show(self) -> None:
        shown = self._shown()
        if shown is None:
            return
        test, since = min(self._since.items(), key=lambda item: item[1], default=("", 0.0))
        others = f" and {len(self._since) - 1} more" if len(self._since) > 1 else ""
        shown.follow(f"modelcheck: running {test}{others} ..." if test else "", since)


class Reporting:
    """The hooks that show and write what the tests of a run sent; registered where they report to, not in workers."""

    def __init__(self, options: Options, known: Sequence[KnownFailure] = ()) -> None:
        self._options = options
        self._known = known
        self._rows: list[dict[str, Any]] = []
        self._parallel = False
        self._said: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        row = getattr(report, "modelcheck", None)
        if row is not None and report.outcome in _OUTCOMES:  # not of an attempt after which the test runs again
            self._rows.append(row | {"outcome": report.outcome})
            self._parallel |= hasattr(report, "node")  # set by xdist on what a worker sent

    def _in_order(self) -> list[dict[str, Any]]:
        """The rows in the order of the run; of workers, who finish in any order, by test."""
        return sorted(self._rows, key=lambda row: str(row["test"])) if self._parallel else self._rows

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not (self._rows or self._known or self._said):
            return
        from pytest_modelcheck.report.terminal import summary_lines

        width = max(terminalreporter._tw.fullwidth, 80)
        verbose = terminalreporter.verbosity > 0
        lines = summary_lines(self._in_order(), width=width, verbose=verbose, explain=self._options.explain)
        lines += [f"  {line}" for line in outcome(self._known, self._rows).lines]
        if lines or self._said:
            terminalreporter.write_sep("=", "modelcheck")
            for line in [*lines, *self._said]:
                terminalreporter.write_line(printable_line(line))
        from pytest_modelcheck.report.github import annotation_lines

        for line in annotation_lines(self._in_order(), terminalreporter.config.rootpath, os.environ):
            terminalreporter.write_line(line)

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
        if exitstatus in _CUT_SHORT or session.shouldfail or session.shouldstop:
            # A run that was cut short knows nothing of the tests it did not reach: syrupy would delete their snapshots.
            session.config.option.no_cleanup = True
        yield
        self._judge_known(session)
        self._judge_orphans(session)
        self._write(session)

    def _judge_known(self, session: pytest.Session) -> None:
        """Let rows of the table of known failures fail the run: that match nothing, and, if asked, that pass now."""
        said = outcome(self._known, self._rows)
        if (
            session.exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
            or session.config.option.runxfail
        ):
            return
        if said.unmet and is_whole(session.config) and not session.shouldfail and not session.shouldstop:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif said.passing and self._options.known_failures_strict:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _judge_orphans(self, session: pytest.Session) -> None:
        """Snapshots of a deleted test file fail a run that passed, and ``--snapshot-update`` deletes them, as syrupy
        does with unused ones."""
        if not any(row["locked"] for row in self._rows) or session.exitstatus in _CUT_SHORT:
            return
        from pytest_modelcheck.snapshots.orphans import orphans, remove

        config = session.config
        if getattr(config.option, "disable_unused_snapshots", False):
            return
        used = {config.rootpath / row["file"] for row in self._rows}
        for found in orphans(config.rootpath, self._options.snapshots, used):
            if config.option.update_snapshots and not config.option.no_cleanup:
                remove(found)
                self._said.append(f"deleted {found}")
                continue
            self._said.append(f"unused {found}; pytest --modelcheck --snapshot-update deletes them")
            if session.exitstatus == pytest.ExitCode.OK and not config.option.warn_unused_snapshots:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _write(self, session: pytest.Session) -> None:
        if not (self._rows or self._options.reports):
            return
        from pytest_modelcheck.report.about import about_run
        from pytest_modelcheck.report.files import write_report
        from pytest_modelcheck.report.github import write_summary

        exit_status = int(session.exitstatus)
        try:
            write_summary(self._in_order(), os.environ, exit_status=exit_status)
        except OSError as error:  # the tests are judged all the same
            self._said.append(f"WARNING: the job's summary cannot be written: {error}")
        if self._options.reports:
            about = about_run(session.config.rootpath, session.config.invocation_params.args)
        for path in self._options.reports:
            try:
                write_report(self._in_order(), path, exit_status=exit_status, about=about)
            except OSError as error:
                self._said.append(f"ERROR: --modelcheck-report: {path} cannot be written: {error}")
                session.exitstatus = pytest.ExitCode.USAGE_ERROR
