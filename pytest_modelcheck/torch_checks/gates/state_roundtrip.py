"""``expect_state_roundtrip``: a saved state gives the same outputs bit for bit, and a bad file changes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError, existing_file
from pytest_modelcheck.gates.tolerances import read_seeds

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectStateRoundtrip:
    """Files of older versions, and the functions that save and load; None for those of `parity.state_file`."""

    older: tuple[Path, ...]
    save: Callable[..., Any] | None
    load: Callable[..., Any] | None
    seeds: int


def parse(older: Any = (), save: Any = None, load: Any = None, seeds: Any = 3) -> ExpectStateRoundtrip:
    """save(module, path) and load(module, path) give back every output bit for bit; bad files change nothing

    Raises:
        MarkerError: on an older file that does not exist, or a `save` or `load` that is not a function.
    """
    for label, function in (("save", save), ("load", load)):
        if function is not None and not callable(function):
            raise MarkerError(f"{label}={function!r} must be a function: {label}(module, path)")
    files = (older,) if isinstance(older, str | Path) else older
    if not isinstance(files, list | tuple) or not all(isinstance(file, str | Path) for file in files):
        raise MarkerError(f"older={older!r} must be a path or several")
    return ExpectStateRoundtrip(
        older=tuple(existing_file("older", file) for file in files), save=save, load=load, seeds=read_seeds(seeds)
    )


def check(modelcheck: ModelCheck, expectation: ExpectStateRoundtrip) -> GateResult:
    """Save, load, damage and compare."""
    from pytest_modelcheck.torch_checks.state import load_state, save_state, state_roundtrip

    torch = modelcheck.torch
    module = torch.module
    report = modelcheck.once(
        ("state round trip", repr(expectation)),
        lambda: state_roundtrip(
            modelcheck.case,
            module,
            torch.inputs,
            seeds=expectation.seeds,
            older=expectation.older,
            save=expectation.save or save_state,
            load=expectation.load or load_state,
        ),
        step="state round trip",
    )
    findings = tuple(dataclasses.replace(finding, gate=GATE.name) for finding in report.findings)
    measured = report.text if report.entries else ""
    return GateResult(gate=GATE.name, measured=measured, findings=findings, figures={"parity": {"state": report.text}})


GATE = Gate("expect_state_roundtrip", parse, check)
