"""``expect_host_transfers``: reads and copies in the forward for which host and device wait for each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.bounds import Bound
from pytest_modelcheck.errors import BoundError, ModelCaseError
from pytest_modelcheck.gates.gate import Gate, GateResult, named_bound
from pytest_modelcheck.result import Finding

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.performance import Transfer

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ExpectHostTransfers:
    """A bound on the number of transfers of one forward pass."""

    transfers: Bound


def parse(transfers: Any = 0) -> ExpectHostTransfers:
    """the torch forward makes this many synchronising reads and copies between host and device; found without a device

    Raises:
        BoundError: on a bound that cannot be read, or a percentage.
    """
    bound = named_bound("transfers", transfers)
    if bound.percent or bound.whole is not None:
        raise BoundError(f"transfers={transfers!r}: a number of transfers is a plain number, e.g. 0 or '<=1'")
    return ExpectHostTransfers(bound)


def check(modelcheck: ModelCheck, expectation: ExpectHostTransfers) -> GateResult:
    """Run the forward once, its tensors declared to be on a device, and count."""
    from pytest_modelcheck.performance import host_transfers

    if modelcheck.case.onnx_path is not None:
        raise ModelCaseError(f"{modelcheck.label}: is an .onnx file and has no torch forward that could transfer")
    found = host_transfers(modelcheck.module, modelcheck.example)
    measured = f"{len(found)} host transfer{'' if len(found) == 1 else 's'}"
    if expectation.transfers.holds(len(found)):
        return GateResult(gate=GATE.name, measured=measured)
    finding = Finding(
        gate=GATE.name,
        model=modelcheck.label,
        subject="transfers",
        expected=str(expectation.transfers),
        found=str(len(found)),
        context="torch forward",
        where=_where(found),
        next="Keep the value on the device (torch.where, masks, shapes instead of contents), or raise the number "
        "in the marker.",
    )
    return GateResult(gate=GATE.name, measured=measured, findings=(finding,))


def _where(found: tuple[Transfer, ...]) -> tuple[str, ...]:
    """One line per place, in the order of the forward; a place in a loop stands once, with its count."""
    places = Counter(found)
    lines = [
        f"{transfer.module or 'the root module'}: {transfer.op} ({transfer.kind}) at {transfer.source_line}"
        + (f"  x{count}" if count > 1 else "")
        for transfer, count in places.items()
    ]
    more = [f"... and {len(lines) - _SHOWN} more places"] if len(lines) > _SHOWN else []
    return (*lines[:_SHOWN], *more)


GATE = Gate("expect_host_transfers", parse, check)
