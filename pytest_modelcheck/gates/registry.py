"""Which gates there are: those of installed packages, and those that the ini option names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import metadata

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.gates.gate import Gate

GROUP = "pytest_modelcheck.gates"
"""The entry-point group; an entry's name is the marker's."""


@dataclass(frozen=True, slots=True)
class Gates(Mapping[str, Gate]):
    """Marker name -> gate. A gate is imported when it is asked for: most runs read few markers."""

    _load: Mapping[str, Callable[[], Gate]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Gate:
        if name not in self._load:
            raise KeyError(
                f"no installed package registers a gate {name!r}; a new line in pyproject.toml needs `make check`"
            )
        return self._load[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._load)

    def __contains__(self, name: object) -> bool:
        return name in self._load

    def __len__(self) -> int:
        return len(self._load)

    def and_named(self, places: Sequence[str]) -> Gates:
        """These, and the ones at ``module:attribute``; of one name, the named one.

        Raises:
            OptionError: naming the place, if there is no gate.
        """
        named = {gate_at(place).name: place for place in places}
        return Gates({**self._load, **{name: partial(_cached_gate, place, name) for name, place in named.items()}})


@cache
def registered_gates() -> Gates:
    """The gates of all installed packages, this one among them; the first of a name counts."""
    load: dict[str, Callable[[], Gate]] = {}
    for entry in metadata.entry_points(group=GROUP):
        load.setdefault(entry.name, partial(_cached_gate, entry.value, entry.name))
    return Gates(load)


def gate_at(place: str, name: str = "") -> Gate:
    """The gate at ``module:attribute``.

    Args:
        place: Where it is.
        name: The marker's name under which it is registered; "" for any.

    Raises:
        OptionError: if it cannot be imported, is no `Gate`, or has another name.
    """
    module, _, attribute = place.partition(":")
    try:
        gate = getattr(importlib.import_module(module), attribute or "GATE")
    except (ImportError, AttributeError) as error:
        raise OptionError(f"gate {place!r} cannot be imported: {error}") from error
    if not isinstance(gate, Gate):
        raise OptionError(f"gate {place!r} is a {type(gate).__name__}, not a pytest_modelcheck.gates.Gate")
    if name and gate.name != name:
        raise OptionError(f"gate {place!r} is registered as {name!r} and calls itself {gate.name!r}")
    return gate


_cached_gate = cache(gate_at)
