"""Where a change of the numbers begins: the first module, in the order of today's calls, whose numbers differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_modelcheck.hierarchy.folded_rows import ROOT
from pytest_modelcheck.numbers.results import Numbers, Probe

_NAMED = 0.1
"""Share of an output's tolerance by which a module's number counts as changed: above all noise, below every fault."""

SHOWN = 6


def missing_call(before: Numbers, now: Numbers) -> str:
    """The first module that is no longer called, where no other one is called instead."""
    called, calls = _called(before), _called(now)
    gone = [path for path in called if path not in calls]
    if not gone or any(path not in called for path in calls):
        return ""
    outer = gone[0]
    known = before.modules.get(outer)
    return f"first where {outer}{f' ({known.class_name})' if known else ''} is no longer called"


def first_changed(before: Numbers, now: Numbers, probe: Probe, tolerance: float) -> str:
    """The first place, in the order of today's calls, whose number changed; empty where none did."""
    entered: set[str] = set()
    for path, direction, index in now.events:
        for outer in _with_parents(path):
            if outer not in entered and _takes_others(before, now, outer, probe):
                return _place(now, outer, "in")
            entered.add(outer)
        old = before.modules.get(path)
        known = old.numbers.get((direction, probe), ()) if old else ()
        if not known or (index < len(known) and known[index] is None):
            continue
        new = number_at(now, path, direction, probe, index)
        value = known[index] if index < len(known) else None
        if value is None or new is None or abs(new - value) > _NAMED * tolerance * abs(value):
            return _place(now, path, direction)
    return ""


def own_code(now: Numbers) -> str:
    root = now.modules.get("")
    return f"after the last module: in the code of {ROOT}{f' ({root.class_name})' if root else ''}"


def _with_parents(path: str) -> list[str]:
    atoms = path.split(".")
    return [".".join(atoms[: count + 1]) for count in range(len(atoms))]


def _takes_others(before: Numbers, now: Numbers, path: str, probe: Probe) -> bool:
    """Whether a module is given more or fewer tensors than before that no module has seen."""
    old, new = before.modules.get(path), now.modules.get(path)
    if old is None and not any(other.startswith(f"{path}.") for other in before.modules):
        return False  # a new module
    counts = [len(module.numbers.get(("in", probe), ())) if module else 0 for module in (old, new)]
    return counts[0] != counts[1]


def _place(now: Numbers, path: str, direction: str) -> str:
    text = f"first at the {side(direction)} of {path} ({now.modules[path].class_name})"
    if direction == "out":
        return text
    parent = path.rpartition(".")[0]
    while parent and parent not in now.modules:
        parent = parent.rpartition(".")[0]
    caller = now.modules.get(parent)
    return f"{text}, in the code of {parent or ROOT}{f' ({caller.class_name})' if caller else ''}"


def structure(before: Numbers, now: Numbers) -> Iterator[str]:
    """What may explain a change: modules that are new, gone or of another class, weights of another shape."""
    called, calls = _called(before), _called(now)
    yield from listed("no longer called", [path for path in called if path not in calls])
    yield from listed("called for the first time", [path for path in calls if path not in called])
    for path, module in now.modules.items():
        old = before.modules.get(path)
        if old is not None and old.class_name != module.class_name:
            yield f"{path or ROOT} is now a {module.class_name}, was a {old.class_name}"
    old_weights, new_weights = before.weights, now.weights
    yield from listed("weights gone", [name for name in old_weights if name not in new_weights])
    yield from listed("weights new", [name for name in new_weights if name not in old_weights])
    for name, shape in new_weights.items():
        if old_weights.get(name, shape) != shape:
            yield f"{name} is now {list(shape)}, was {list(old_weights[name])}"


def _called(numbers: Numbers) -> list[str]:
    """Modules with numbers, and those around them, in the order of calls."""
    paths = (path for path, module in numbers.modules.items() if module.numbers)
    return list(dict.fromkeys(outer for path in paths for outer in _with_parents(path)))


def listed(what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield f"{what}: {', '.join(names[:SHOWN])}{more}"


def number_at(numbers: Numbers, path: str, direction: str, probe: Probe, index: int) -> float | None:
    module = numbers.modules.get(path)
    found = module.numbers.get((direction, probe), ()) if module else ()
    return found[index] if index < len(found) else None


def side(direction: str) -> str:
    return "input" if direction == "in" else "output"
