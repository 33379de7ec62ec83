"""What differs between recorded numbers and today's, in the words of functions, modules and weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pytest_modelcheck.numbers.locating import (
    SHOWN,
    first_changed,
    listed,
    missing_call,
    number_at,
    own_code,
    side,
    structure,
)
from pytest_modelcheck.numbers.naming import recorded_names
from pytest_modelcheck.numbers.results import PROBES, SEE_NOTE, TOLERANCE, Numbers, OutputNumbers, Probe
from pytest_modelcheck.numbers.sketch import Sketch
from pytest_modelcheck.numbers.text import parse, rows
from pytest_modelcheck.result import Change

_SAME = "the function is the same"
UNMATCHED = (
    "no match of the new names with the old ones gave the recorded numbers, so that the weights may be drawn for "
    "others, and the function be the same"
)
QUIET_ONLY = "quiet only: an epsilon or a small constant"


def judge(recorded: str, now: Numbers) -> Change:
    """What changed since `recorded` was rendered; nothing where the function is the same, weights renamed or not.

    Args:
        recorded: The text of `text.render`.
        now: Today's numbers; drawn again under the recorded names where names differ.
    """
    try:
        before = parse(recorded)
    except ValueError as error:
        return Change(found="recorded rows that cannot be read", where=(str(error),))
    change = _judged(before, now)
    stale = before.weights != parse(rows(now)).weights or before.tied != now.tied
    stale = stale or bool(now.wiring and not before.wiring)
    unmatched = 0
    if change.found and stale and (redraw := now.redraw) is not None:
        for names, redrawn in recorded_names(before, now, redraw):
            again = _judged(before, redrawn)
            if not again.found:
                return Change(stale=True)
            if again.found.endswith(_SAME):
                return again
            unmatched = len(names)
    if not unmatched:
        return Change(found=change.found, where=change.where, stale=stale)
    other = "1 weight has another name" if unmatched == 1 else f"{unmatched} weights have other names"
    return Change(found=change.found, where=(*change.where, f"{other}: {UNMATCHED}"), stale=stale)


def _judged(before: Numbers, now: Numbers) -> Change:
    function, files = _function(before, now), _files(before, now)
    found = "; ".join(change.found for change in (function, files) if change.found)
    return Change(found=found, where=(*function.where, *files.where))


def _function(before: Numbers, now: Numbers) -> Change:
    inputs = list(_inputs(before.inputs, now.inputs))
    outputs = _Outputs(before, now)
    plain = [*inputs, *_dtypes(before, now), *_ties(before, now), *outputs.around]
    red = outputs.red()
    if not red:
        return Change(found=f"{plain[0]}; {_SAME}", where=tuple(plain[1:])) if plain else Change()
    lines = tuple(line.text for line in red)
    if any(made.unlocked == SEE_NOTE for probes in now.outputs.values() for made in probes.values()):
        reason = now.notes[-1].partition("; ")[2]
        return Change(found=f"values can no longer be compared: {reason}", where=(*plain, *lines))
    if any(not _same_input(sketch, now.inputs.get(name)) for name, sketch in before.inputs.items()):
        return Change(found="other inputs: what they give cannot be compared", where=tuple(plain))
    probe = red[0].probe
    place = missing_call(before, now) or first_changed(before, now, probe, outputs.tolerance) or own_code(now)
    words = [f"the function {'is now random' if red[0].random else 'changed'}", place]
    words += [QUIET_ONLY] if probe == "quiet" else []
    return Change(found=", ".join(words), where=(*plain, *lines, *structure(before, now)))


def _inputs(before: Mapping[str, Sketch], now: Mapping[str, Sketch]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *now)):
        old, new = before.get(name), now.get(name)
        if old is None or new is None:
            yield f"input {name} is {'gone' if new is None else 'new'}"
        elif (old.dtype, old.shape) != (new.dtype, new.shape):
            yield f"input {name} is now {_type(new)}, was {_type(old)}"
        elif not _has_values(new) and _has_values(old):
            yield f"input {name} now differs from call to call"
        elif not _same_input(old, new):
            yield f"input {name} has other values"


def _same_input(old: Sketch, new: Sketch | None) -> bool:
    """Whether two inputs hold the same numbers, of whatever dtype."""
    if new is None or old.shape != new.shape:
        return False
    if not _has_values(old) or not _has_values(new) or bool(old.checksum) != bool(new.checksum):
        return True  # what cannot be told apart
    return old.distance(new) <= TOLERANCE


def _has_values(sketch: Sketch) -> bool:
    return bool(sketch.numbers or sketch.checksum or sketch.left_out)


def _type(sketch: Sketch) -> str:
    return f"{sketch.dtype} [{','.join(map(str, sketch.shape))}]"


def _dtypes(before: Numbers, now: Numbers) -> Iterator[str]:
    if before.dtypes and now.dtypes and before.dtypes != now.dtypes:
        yield f"weights are now {', '.join(now.dtypes)}, were {', '.join(before.dtypes)}"


def _ties(before: Numbers, now: Numbers) -> Iterator[str]:
    """Weights of both sides that are one tensor on one side and two on the other: they are stored twice there."""
    for verb, these, those in (("no longer", before, now), ("now", now, before)):
        names = {*those.weights, *those.tied}
        for alias, name in these.tied.items():
            if {alias, name} <= names and those.tied.get(alias, alias) != those.tied.get(name, name):
                yield f"{alias} is {verb} tied to {name}"


@dataclass(frozen=True, slots=True)
class _Red:
    """A line about an output that changed, and the probe that shows it."""

    probe: Probe
    text: str
    random: bool = False


class _Outputs:
    """The outputs of two sides, by the names of today."""

    def __init__(self, before: Numbers, now: Numbers) -> None:
        self._before, self._now = before, now
        self._old_name: dict[str, str] = {name: name for name in now.outputs if name in before.outputs}
        self.around: list[str] = []
        gone = [name for name in before.outputs if name not in now.outputs]
        for name in (name for name in now.outputs if name not in before.outputs):
            old = next((old for old in gone if not list(self._differences(old, name))), None)
            if old is None:
                self.around.append(f"output {name} is new")
            else:
                gone.remove(old)
                self._old_name[name] = old
                self.around.append(f"output {old} is now {name}, with the same numbers")
        self.around += [f"output {name} is gone" for name in gone]
        for name, old in self._old_name.items():
            first, second = before.outputs[old]["plain"].sketch, now.outputs[name]["plain"].sketch
            if first.dtype != second.dtype and first.shape == second.shape:
                self.around.append(f"output {name} is now {_type(second)}, was {_type(first)}")
        order = [self._old_name[name] for name in now.outputs if name in self._old_name]
        if order != [name for name in before.outputs if name in order]:
            self.around.append(f"outputs are now in the order {', '.join(now.outputs)}")

    @property
    def tolerance(self) -> float:
        """The smallest tolerance of any locked output."""
        return min(
            (made.tolerance for probes in self._before.outputs.values() for made in probes.values()), default=1.0
        )

    def red(self) -> list[_Red]:
        """What changed beyond its tolerance, the plain probe first."""
        found = [line for name, old in self._old_name.items() for line in self._differences(old, name)]
        found += self._decided_by_modules()
        return sorted(found, key=lambda line: PROBES.index(line.probe))

    def _differences(self, old: str, name: str) -> Iterator[_Red]:
        before, now = self._before.outputs[old], self._now.outputs[name]
        first, second = before["plain"].sketch, now["plain"].sketch
        locked = not (before["plain"].unlocked or now["plain"].unlocked)  # else there is no checksum to have
        if first.shape != second.shape or (locked and bool(first.checksum) != bool(second.checksum)):
            yield _Red("plain", f"output {name} is now {_type(second)}, was {_type(first)}")
            return
        for probe in PROBES:
            if text := self._difference(before[probe], now[probe], name, probe):
                yield _Red(probe, f"output {name}, {probe}: {text}", now[probe].unlocked.startswith("random"))

    def _difference(self, before: OutputNumbers, now: OutputNumbers, name: str, probe: Probe) -> str:
        old, new = before.sketch, now.sketch
        if before.unlocked:
            return ""
        if now.unlocked:
            return f"no longer locked: {now.unlocked}"
        if old.left_out != new.left_out:
            return f"{new.left_out} elements are not finite, {old.left_out} were"
        distance = old.distance(new)
        if distance <= before.tolerance:
            return ""
        if old.checksum:
            return "other values"
        return f"{distance:.0e} of its rms (tolerance {before.tolerance:.0e}){self._exchanged(new, name, probe)}"

    def _exchanged(self, new: Sketch, name: str, probe: Probe) -> str:
        for other, probes in self._before.outputs.items():
            if other != self._old_name.get(name) and probes[probe].sketch.distance(new) <= TOLERANCE:
                return f": the numbers that {other} had"
        return ""

    def _decided_by_modules(self) -> Iterator[_Red]:
        """Where an output is not locked, the stable numbers of modules that both sides have decide."""
        for probe in PROBES:
            if not any(probes[probe].unlocked for probes in self._before.outputs.values()):
                continue
            for path, direction, index in self._now.events:
                old = number_at(self._before, path, direction, probe, index)
                new = number_at(self._now, path, direction, probe, index)
                if old is not None and new is not None and abs(new - old) > TOLERANCE * abs(old):
                    yield _Red(probe, f"{side(direction)} of {path}: {probe} {old:.6g}, now {new:.6g}")
                    break


def _files(before: Numbers, now: Numbers) -> Change:
    changed = [
        f"{name} has other values" if now.files[name][:2] == row[:2] else f"{name} has another type or shape"
        for name, row in before.files.items()
        if name in now.files and now.files[name] != row
    ]
    gone = [name for name in before.files if name not in now.files]
    new = [name for name in now.files if name not in before.files]
    rewired = [name for name, digest in before.wiring.items() if now.wiring.get(name, digest) != digest]
    lines = [*changed, *listed("gone", gone), *listed("new", new)]
    words = [f"{len(changed)} of {len(now.files)} initializers changed"] if lines else []
    words += [f"{', '.join(rewired[:SHOWN])}: computed by other operators, constants or wiring"] if rewired else []
    return Change(found="; ".join(words), where=tuple(lines[:SHOWN]))
