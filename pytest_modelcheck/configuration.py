"""Gates for all cases, from ``[tool.modelcheck]`` of pyproject.toml::

    [tool.modelcheck.gates]                      # every test that uses the fixture `modelcheck`
    expect_hierarchy = { coverage = ">=95%" }    # the marker's arguments
    expect_accuracy = true                       # a marker without arguments

    [tool.modelcheck.cases."bert-*"]             # cases of such names: shell patterns, later tables win
    target = "opset23"
    gates = { expect_accuracy = { atol = 1e-4 }, expect_hierarchy = false }

Arguments are merged by their names, the more specific table last; a test's own marker wins over all of them.
"""

from __future__ import annotations

import contextlib
import inspect
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from pytest_modelcheck.errors import ModelCheckError, OptionError
from pytest_modelcheck.gates import Gate, Gates
from pytest_modelcheck.gates.gate import suggestion
from pytest_modelcheck.targets import TARGETS, Target

FILE = "pyproject.toml"

Arguments = dict[str, Any]
"""Arguments of a marker by their names."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table: which cases it is for, and what it asks of them.

    Attributes:
        place: The table's name in the file.
        pattern: Shell pattern of the names of cases.
        gates: Marker -> its arguments; None switches off what an earlier table asks.
        target: What their optimized graphs may contain; None leaves it.
    """

    place: str
    pattern: str
    gates: Mapping[str, Arguments | None]
    target: Target | None = None


@dataclass(frozen=True, slots=True)
class Configuration:
    """All tables, the general one first."""

    tables: tuple[Table, ...] = ()

    def gates(self, case: str | None) -> dict[str, Arguments]:
        """Marker -> arguments for a case of this name; for one whose name is not known yet, what all cases get."""
        found: dict[str, Arguments] = {}
        for table in self._of(case):
            for name, arguments in table.gates.items():
                if arguments is None:
                    found.pop(name, None)
                else:
                    found[name] = {**found.get(name, {}), **arguments}
        return found

    def marks(self, own: Iterable[pytest.Mark], case: str | None, gates: Gates) -> list[tuple[pytest.Mark, str]]:
        """A test's own marks, completed by what the tables say, and the marks that only the tables ask for, each of
        these with the place of its table."""
        defaults = self.gates(case)
        marks: list[tuple[pytest.Mark, str]] = []
        for mark in own:
            if mark.name in defaults:
                with contextlib.suppress(TypeError):  # what is wrong with a marker is said where it is read
                    named = by_name(gates[mark.name], mark.args, dict(mark.kwargs))
                    mark = _mark(mark.name, {**defaults[mark.name], **named})
            marks.append((mark, ""))
        given = {mark.name for mark, _ in marks}
        added = ((name, arguments) for name, arguments in defaults.items() if name not in given)
        return [*marks, *((_mark(name, arguments), self._place(name, case)) for name, arguments in added)]

    def _place(self, gate: str, case: str | None) -> str:
        """The most specific table that asks for a gate: ``pyproject.toml [tool.modelcheck]``."""
        return next(f"{FILE} [{table.place}]" for table in reversed(self._of(case)) if gate in table.gates)

    def target(self, case: str) -> Target | None:
        """The target for a case of this name; None where no table says one."""
        return next((table.target for table in reversed(self._of(case)) if table.target), None)

    def _of(self, case: str | None) -> tuple[Table, ...]:
        return tuple(table for table in self.tables if fnmatchcase(case or "", table.pattern))

    def lines(self) -> list[str]:
        """What a run's header says: which table asks for what."""
        lines = []
        for table in self.tables:
            asked = [name if arguments is not None else f"no {name}" for name, arguments in table.gates.items()]
            asked += [f"target {table.target}"] if table.target else []
            lines += [f"modelcheck: {FILE} [{table.place}]: {', '.join(asked)}"] if asked else []
        return lines


def read_configuration(root: Path, gates: Gates) -> Configuration:
    """The tables of the project's pyproject.toml; empty without a file or without tables.

    Raises:
        OptionError: naming the table, the key or the argument, and the close match.
    """
    path = root / FILE
    if not path.is_file():
        return Configuration()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"{path}: {error}") from None
    place = "tool.modelcheck"
    section = _table(content.get("tool", {}).get("modelcheck", {}), place)
    _known(section, ("gates", "cases"), place)
    tables = [_read(place, "*", {"gates": section.get("gates", {})}, gates)]
    for pattern, table in _table(section.get("cases", {}), f"{place}.cases").items():
        tables.append(_read(f'{place}.cases."{pattern}"', pattern, _table(table, f'{place}.cases."{pattern}"'), gates))
    for table in tables:
        for name, arguments in table.gates.items():
            if arguments is not None:
                _check(table.place, name, {**(tables[0].gates.get(name) or {}), **arguments}, gates)
    return Configuration(tuple(tables))


def _mark(name: str, arguments: Arguments) -> pytest.Mark:
    decorator: pytest.MarkDecorator = getattr(pytest.mark, name)
    return decorator.with_args(**arguments).mark


def by_name(gate: Gate, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """A marker's arguments by their names.

    Raises:
        TypeError: for arguments that the gate does not take.
    """
    signature = inspect.signature(gate.parse)
    arguments = signature.bind_partial(*args, **kwargs).arguments
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name, {})
    return arguments


def _read(place: str, pattern: str, table: Mapping[str, Any], gates: Gates) -> Table:
    _known(table, ("gates", "target"), place)
    target = table.get("target")
    if target is not None and target not in TARGETS:
        raise OptionError(f"{FILE} [{place}]: target {target!r} is unknown{suggestion(str(target), TARGETS)}")
    asked = _table(table.get("gates", {}), f"{place}.gates")
    _known(asked, tuple(gates), f"{place}.gates")
    arguments = {name: _arguments(place, gates[name], value) for name, value in asked.items()}
    return Table(place, pattern, arguments, target)


def _arguments(place: str, gate: Gate, value: Any) -> Arguments | None:
    """A marker's arguments as TOML writes them: a table by name, a list by position, one value, true, or false."""
    if value is False:
        return None
    if value is True:
        return {}
    if isinstance(value, dict):
        return value
    try:
        return by_name(gate, tuple(value) if isinstance(value, list) else (value,), {})
    except TypeError as error:
        raise OptionError(f"{FILE} [{place}]: {gate.name}: {error}") from None


def _check(place: str, name: str, arguments: Arguments, gates: Gates) -> None:
    try:
        gates[name].expectation((), arguments)
    except ModelCheckError as error:
        raise OptionError(f"{FILE} [{place}]: {error}") from None


def _table(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OptionError(f"{FILE} [{place}]: expected a table, got {value!r}")
    return value


def _known(table: Mapping[str, Any], known: tuple[str, ...], place: str) -> None:
    for key in table:
        if key not in known:
            raise OptionError(f"{FILE} [{place}]: {key!r} is unknown{suggestion(key, known)}")
