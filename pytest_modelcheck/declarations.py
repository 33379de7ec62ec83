"""What each test declares: the gates of its markers and of pyproject.toml, read before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from pytest_modelcheck.configuration import Configuration
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.gates import GateResult, Gates, MarkerError
from pytest_modelcheck.gates.evaluate import Declared, declare, failing
from pytest_modelcheck.known_failures import Expected, KnownFailure, check_cases
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.options import Options
from pytest_modelcheck.result import Finding, short_form

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.pipeline import AnyPass
    from pytest_modelcheck.snapshots.assertion import ModelCheckSnapshot

TEST = pytest.StashKey["TestState"]()


@dataclass(slots=True)
class TestState:
    """What one test carries: its gates, its check, and what was found.

    Attributes:
        declared: The gates of its markers.
        check: Set when the fixture `modelcheck` is requested.
        results: Set when the gates have run.
        snapshot: Set when the fixture `modelcheck_snapshot` is requested.
        body: Findings from the test's body: snapshot comparisons, results that cannot exist.
        expected: What the table of known failures says of it.
    """

    __test__ = False

    declared: tuple[Declared, ...] = ()
    check: ModelCheck | None = None
    results: tuple[GateResult, ...] = ()
    snapshot: ModelCheckSnapshot | None = None
    body: list[Finding] = field(default_factory=list)
    expected: Expected = field(default_factory=Expected)

    def short(self, error: BaseException, inconclusive: str) -> str:
        """What the test found, in one line; empty where it failed by anything but its findings."""
        ours = isinstance(error, pytest.fail.Exception) and not error.pytrace
        found = [*self.body, *failing(self.results, inconclusive)]
        return short_form(found) if ours and found else ""


@dataclass(slots=True)
class Declarations:
    """What a run reads the gates of its tests by.

    Attributes:
        options, config: Of the run.
        gates: The markers that there are.
        known: The table of known failures.
        configuration: The tables of pyproject.toml.
    """

    options: Options
    config: pytest.Config
    gates: Gates
    known: tuple[KnownFailure, ...] = ()
    configuration: Configuration = field(default_factory=Configuration)
    _read: dict[tuple[object, ...], tuple[Sequence[pytest.Mark], tuple[Declared, ...]]] = field(default_factory=dict)

    def declare(self, items: list[pytest.Item]) -> None:
        """Read the gates of all tests. A file with bad markers fails its collection with all of them, as one that
        cannot be imported does.

        Raises:
            pytest.UsageError: if the pipeline that the options name cannot be made; in a worker of xdist, whose
                controller would take that for a crash, it is a failed collection instead.
        """
        mistakes: dict[str, dict[str, None]] = {}
        for item in items:
            try:
                if self.options.passes and "modelcheck" in getattr(item, "fixturenames", ()):
                    self.pipeline()
                item.stash[TEST] = TestState(declared=self._checked_gates(item))
            except MarkerError as error:
                mistakes.setdefault(_file_of(item), {}).update(dict.fromkeys(str(error).splitlines()))
            except ModelCheckError as error:
                if not hasattr(self.config, "workerinput"):
                    raise pytest.UsageError(str(error)) from error
                mistakes = {item.nodeid: {str(error): None}}
                items.clear()
                break
        self._check_known(items)
        items[:] = [item for item in items if _file_of(item) not in mistakes]
        for place, lines in mistakes.items():
            report = pytest.CollectReport(place, "failed", "\n".join(lines), [])
            self.config.hook.pytest_collectreport(report=report)

    def _check_known(self, items: list[pytest.Item]) -> None:
        """Look for the case of every known failure, where all cases of the project are known before they run.

        Raises:
            pytest.UsageError: naming a row that matches nothing.
        """
        if not self.known:
            return
        names = [_name_of_case(item) for item in items if "modelcheck" in getattr(item, "fixturenames", ())]
        if not names or None in names or not is_whole(self.config):
            return
        try:
            check_cases(self.known, filter(None, names))
        except ModelCheckError as error:
            raise pytest.UsageError(str(error)) from error

    def _checked_gates(self, item: pytest.Item) -> tuple[Declared, ...]:
        """The gates of a test.

        Raises:
            MarkerError: naming the test, the markers and what is wrong with them, one line each.
        """
        declared = self.of(item)
        if declared and "modelcheck" not in getattr(item, "fixturenames", ()):
            raise MarkerError(
                f"{_test_of(item)}: {declared[0].gate.name} has nothing to check: the test does not use the fixture "
                f'`modelcheck`; take it as an argument, or add @pytest.mark.usefixtures("modelcheck")'
            )
        return declared

    def pipeline(self) -> Sequence[AnyPass] | None:
        """The passes that the options name; None for the default pipeline.

        Raises:
            OptionError: naming the pass that cannot be had.
        """
        from pytest_modelcheck.pipeline import resolve_passes

        return resolve_passes(self.options.passes) if self.options.passes else None

    def of(self, item: pytest.Item) -> tuple[Declared, ...]:
        """The gates of a test's markers, in the order of the file, after those of pyproject.toml.

        Read once for all tests that share them: those of a parametrized function do.

        Raises:
            MarkerError: naming the test, the markers and what is wrong with them, one line each.
        """
        own = tuple(item.iter_markers())
        asked = bool(self.configuration.tables) and "modelcheck" in getattr(item, "fixturenames", ())
        case = _name_of_case(item) if asked else None
        key = (asked, case, *map(id, own))
        if key not in self._read:
            marks = self.configuration.marks(own, case, self.gates) if asked else [(mark, "") for mark in own]
            self._read[key] = own, self._declared(item, marks)  # with the marks, so that no other ones get their ids
        return self._read[key][1]

    def _declared(self, item: pytest.Item, marks: Iterable[tuple[pytest.Mark, str]]) -> tuple[Declared, ...]:
        declared, wrong = [], []
        for mark, place in marks:
            try:
                entry = declare(mark.name, mark.args, dict(mark.kwargs), self.gates, self.options.passes)
            except MarkerError as error:
                wrong.append(f"{_test_of(item)}: {error}")
                continue
            if entry is not None:
                declared.append(replace(entry, place=place) if place else entry)
        if wrong:
            raise MarkerError("\n".join(reversed(wrong)))
        return tuple(reversed(declared))


def _file_of(item: pytest.Item) -> str:
    return item.nodeid.partition("::")[0]


def _name_of_case(item: pytest.Item) -> str | None:
    """The name of a test's case: of its parameter, or of what its fixture gave; None while that is not known."""
    state = item.stash.get(TEST, None)
    if state is not None and state.check is not None:
        return state.check.case.name
    parameters = getattr(item, "callspec", None)
    case = None if parameters is None else parameters.params.get("model_case")
    return case.name if isinstance(case, ModelCase) else None


def _test_of(item: pytest.Item) -> str:
    """The test without its parameters: a marker of all of them is one mistake."""
    return item.nodeid.partition("[")[0]


def is_whole(config: pytest.Config) -> bool:
    """Whether the run is of all tests of the project, not of those that the command line picks."""
    option = config.option
    picked = option.keyword or option.markexpr or getattr(option, "lf", False) or getattr(option, "deselect", None)
    return config.args_source is not pytest.Config.ArgsSource.ARGS and not picked and not hasattr(config, "workerinput")
