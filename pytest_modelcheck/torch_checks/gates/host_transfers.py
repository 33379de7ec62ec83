"""``expect_host_transfers``: reads and copies in the forward for which host and device wait for each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.bounds import COUNT, Bound
from pytest_modelcheck.errors import BoundError
from pytest_modelcheck.gates.gate import Gate, GateResult, choice, named_bound
from pytest_modelcheck.model_case import PROVIDERS, Provider
from pytest_modelcheck.result import Finding, Verdict

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.torch_checks.transfers import Transfer

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ExpectHostTransfers:
    """Bounds on the transfers of one forward pass, and on the Memcpy nodes of the optimized graph with a provider."""

    transfers: Bound
    memcpy: Bound | None = None
    provider: Provider = "CUDA"


def parse(transfers: Any = 0, memcpy: Any = None, provider: str = "CUDA") -> ExpectHostTransfers:
    """the torch forward makes this many synchronising reads and copies between host and device; found without a device

    Raises:
        BoundError: on a bound that cannot be read, or a percentage.
        MarkerError: on a provider that is not known.
    """
    nodes = None if memcpy is None else _plain("memcpy", memcpy)
    return ExpectHostTransfers(_plain("transfers", transfers), nodes, choice("provider", provider, PROVIDERS))


def _plain(name: str, expected: Any) -> Bound:
    bound = named_bound(name, expected, COUNT)
    if bound.percent or bound.whole is not None:
        raise BoundError(f"{name}={expected!r}: a number of {_COUNTED[name]} is a plain number, e.g. 0 or '<=1'")
    return bound


_COUNTED = {"transfers": "transfers", "memcpy": "Memcpy nodes"}


def check(modelcheck: ModelCheck, expectation: ExpectHostTransfers) -> GateResult:
    """Run the forward once, its tensors declared to be on a device, and count."""
    from pytest_modelcheck.torch_checks.transfers import host_transfers

    torch = modelcheck.torch
    found = host_transfers(torch.module, torch.example)
    measured, findings = [f"{len(found)} host transfer{'' if len(found) == 1 else 's'}"], []
    if not expectation.transfers.holds(len(found)):
        finding = modelcheck.finding(
            GATE.name,
            "transfers",
            expectation.transfers,
            str(len(found)),
            context="torch forward",
            where=_where(found),
            next="Keep the value on the device (torch.where, masks, shapes instead of contents), or raise the number "
            "in the marker.",
        )
        findings.append(finding)
    if expectation.memcpy is not None:
        text, more = _memcpy(modelcheck, expectation.memcpy, expectation.provider)
        measured += text
        findings += more
    return GateResult(gate=GATE.name, measured=", ".join(measured), findings=tuple(findings))


def _memcpy(modelcheck: ModelCheck, bound: Bound, provider: Provider) -> tuple[list[str], list[Finding]]:
    """What was counted, and what is wrong with it: Memcpy nodes that this provider makes onnxruntime insert."""
    from pytest_modelcheck.latency import copies_across, copies_text
    from pytest_modelcheck.runtimes import How, missing_provider

    missing = missing_provider(provider)
    copies = (
        {}
        if missing
        else modelcheck.once(
            ("memcpy", provider),
            lambda: copies_across(modelcheck.graphs.optimized_path, How(provider=provider).of(modelcheck.case)),
            step="memcpy",
        )
    )
    text = copies_text(copies)
    if not missing and bound.holds(sum(copies.values())):
        return [text], []
    finding = modelcheck.finding(
        GATE.name,
        "memcpy",
        bound,
        f"nothing counted: {missing}" if missing else text,
        context=f"{modelcheck.settings.stage_context('optimized')}, on {provider}",
        next="Run where it is, with the onnxruntime that has it; modelcheck_inconclusive decides whether this fails."
        if missing
        else "An operator without a kernel on the device runs on the host: onnxruntime's verbose log names it.",
        verdict=Verdict.INCONCLUSIVE if missing else Verdict.FAIL,
    )
    return [] if missing else [text], [finding]


def _where(found: tuple[Transfer, ...]) -> tuple[str, ...]:
    """One line per place, in the order of the forward; a place in a loop has one line, with its count."""
    places = Counter(found)
    lines = [
        f"{transfer.module or 'the root module'}: {transfer.op} ({transfer.kind}) at {transfer.source_line}"
        + (f"  x{count}" if count > 1 else "")
        for transfer, count in places.items()
    ]
    more = [f"... and {len(lines) - _SHOWN} more places"] if len(lines) > _SHOWN else []
    return (*lines[:_SHOWN], *more)


GATE = Gate("expect_host_transfers", parse, check)
