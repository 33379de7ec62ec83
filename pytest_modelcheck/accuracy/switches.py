"""Which rewrite of a foreign optimizer changed the numbers: bisected by the optimizer's own switches.

A foreign optimizer is one function from model to model; what it can be told to leave out are its switches. With n of
them in a fixed order, the first k are left on and the others off: none on is good, all on is bad, and bisection finds
the first k that is bad. Names must be exact, because optimizers take wrong ones silently: they are asked for, not
written down, and a rewrite counts as guilty only where leaving it out made the difference vanish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx
import onnx_ir as ir

from pytest_modelcheck.accuracy.comparison import compare_within
from pytest_modelcheck.accuracy.guilty_pass import UnusableReferenceError, first_bad
from pytest_modelcheck.accuracy.metrics import Array, count_nan
from pytest_modelcheck.accuracy.stages import Inputs, feeds_for
from pytest_modelcheck.accuracy.tolerance import DEFAULTS, Tolerances
from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.runtimes import AS_WRITTEN, AT_DEFAULT_LEVEL, How, SessionError, installed_runtime, open_session


@dataclass(frozen=True, slots=True)
class Switchable:
    """An optimizer with switches.

    Attributes:
        name: Its name in findings.
        switches: Exact names of the rewrites it can leave out, in a fixed order.
        run: Optimizes a model without the given rewrites.
    """

    name: str
    switches: tuple[str, ...]
    run: Callable[[onnx.ModelProto, frozenset[str]], onnx.ModelProto]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuiltySwitch:
    """The first rewrite of a foreign optimizer that made the numbers differ.

    Attributes:
        optimizer: Name of the optimizer.
        switch: Name of the rewrite; None where the numbers differ with every switch off.
        alone: Whether leaving out this one rewrite makes the numbers agree. Otherwise others do harm as well.
    """

    optimizer: str
    switch: str | None
    alone: bool

    def describe(self) -> str:
        """One line for a finding's `where`."""
        if self.switch is None:
            return f"{self.optimizer}: the numbers differ with every rewrite that it can leave out left out"
        rest = "" if self.alone else ", and further ones: without it alone the numbers still differ"
        return f"{self.optimizer}: rewrite {self.switch}{rest}"


def find_guilty_switch(
    model: ir.Model, optimizer: Switchable, inputs: Inputs, *, tolerances: Tolerances = DEFAULTS
) -> GuiltySwitch | None:
    """Bisect the switches of `optimizer` on `model`; None where its result agrees with the model.

    Raises:
        UnusableReferenceError, SessionError: if the model gives NaN by itself, or cannot be run.
    """
    proto = ir.to_proto(model)

    def outputs(left_out: frozenset[str]) -> Mapping[str, Array]:
        return _outputs(ir.from_proto(optimizer.run(proto, left_out)), inputs)

    agrees = _agrees(_outputs(model, inputs), outputs, tolerances)
    return _bisect(optimizer.name, optimizer.switches, agrees)


def find_guilty_runtime_rewrite(
    model: ir.Model, inputs: Inputs, *, tolerances: Tolerances = DEFAULTS, how: How = AT_DEFAULT_LEVEL
) -> GuiltySwitch | None:
    """The same for a runtime's own optimizer, at its default level.

    Raises:
        OptionError: for a runtime that cannot leave out single rewrites.
    """
    runtime = installed_runtime(how.runtime)
    if runtime.rewrites is None:
        raise OptionError(f"{runtime.name} cannot leave out single rewrites of its optimizer")

    def outputs(left_out: frozenset[str]) -> Mapping[str, Array]:
        return _outputs(model, inputs, replace(how, optimizer=True, left_out=tuple(sorted(left_out))))

    agrees = _agrees(_outputs(model, inputs, replace(how, optimizer=False)), outputs, tolerances)
    found = _bisect(runtime.name, runtime.rewrites(model), agrees)
    for rule in (runtime.members or {}).get(found.switch or "", ()) if found else ():
        if agrees((rule,)):
            return GuiltySwitch(optimizer=runtime.name, switch=rule, alone=True)
    return found


def _outputs(model: ir.Model, inputs: Inputs, how: How = AS_WRITTEN) -> Mapping[str, Array]:
    session = open_session(model, how)
    return session.run(feeds_for(session, inputs))


def _agrees(
    reference: Mapping[str, Array],
    outputs: Callable[[frozenset[str]], Mapping[str, Array]],
    tolerances: Tolerances,
) -> Callable[[Iterable[str]], bool]:
    if any(count_nan(array) for array in reference.values()):
        raise UnusableReferenceError("the model gives NaN by itself: no rewrite is to blame")

    def agrees(left_out: Iterable[str]) -> bool:
        try:
            candidate = outputs(frozenset(left_out))
        except SessionError:
            return False
        return not any(output.status.failed for output in compare_within(reference, candidate, tolerances).outputs)

    return agrees


def _bisect(name: str, switches: Sequence[str], agrees: Callable[[Iterable[str]], bool]) -> GuiltySwitch | None:
    if agrees(()):
        return None
    if not switches or not agrees(switches):
        return GuiltySwitch(optimizer=name, switch=None, alone=False)
    bad = first_bad(len(switches), lambda count: agrees(switches[count:]))
    guilty = switches[bad - 1]
    return GuiltySwitch(optimizer=name, switch=guilty, alone=agrees((guilty,)))
