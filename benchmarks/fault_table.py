"""Planted faults in full-size models: planted one by one, kept as they come, and put into a table.

Outcomes are kept in a file per model, so that a run that was stopped goes on where it was; a changed check or a changed
fault asks for `--again`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- planted faults: begin -->", "<!-- planted faults: end -->"
BY = ("outputs", "weights", "cannot run")


def measure(name: str, folder: Path, cache: Path, *, again: bool = False) -> Iterator[dict[str, Any]]:
    """Plant every fault of the list that `name`, a model of the zoo, has a place for; give each outcome as it comes."""
    from examples.zoo.registry import model
    from pytest_modelcheck.store import Store
    from tests.accuracy.fault_list import FAULTS
    from tests.accuracy.planted import PlantedModel

    kept = {} if again else read(name, folder)
    planted = None
    for fault in FAULTS:
        if fault.name not in kept:
            planted = planted or PlantedModel(model(name).case("dynamo"), cache=Store(cache))
            started = time.perf_counter()
            outcome = planted.try_fault(fault)
            kept[fault.name] = {
                "kind": fault.kind,
                "outcome": None if outcome is None else dataclasses.asdict(outcome),
                "seconds": round(time.perf_counter() - started, 1),
            }
            _write(name, folder, kept)
        yield {"fault": fault.name, **kept[fault.name]}


def read(name: str, folder: Path) -> dict[str, dict[str, Any]]:
    """Fault -> outcome of what was planted so far; an outcome is None where the model has no place for the fault."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _write(name: str, folder: Path, kept: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    scratch = folder / f".{name}.{os.getpid()}"
    scratch.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    os.replace(scratch, folder / f"{name}.json")


def is_named(outcome: Mapping[str, Any]) -> bool:
    """Whether the guilty pass and the node (or the weight) were both named right."""
    return bool(outcome["pass_named"] and outcome["node_named"])


def summary(name: str, kept: Mapping[str, Mapping[str, Any]]) -> str:
    """One line: planted, caught and by what, named right."""
    planted = _outcomes(kept)
    by = ", ".join(f"{sum(outcome['by'] == kind for outcome in planted)} by {kind}" for kind in BY)
    caught, named = sum(bool(outcome["by"]) for outcome in planted), sum(map(is_named, planted))
    share = 100 * named / len(planted) if planted else 0.0
    seconds = sum(entry["seconds"] for entry in kept.values())
    return (
        f"{name}: {len(planted)} faults planted, {caught} caught ({by}), {named} named right ({share:.0f} %), "
        f"{seconds:.0f} s"
    )


def described(entry: Mapping[str, Any]) -> str:
    """What a reader should see of one outcome that is not as it should be; empty if it is."""
    outcome = entry["outcome"]
    if outcome is None or (outcome["by"] and is_named(outcome)):
        return ""
    verdict = f"caught by {outcome['by']}, not named" if outcome["by"] else "NOT CAUGHT"
    pass_named = "" if outcome["pass_named"] else "another pass or none; "
    return f"{entry['fault']}: {verdict}; {pass_named}{outcome['said'][:160]}"


def table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Faults down, models across; the totals on top. What was not planted yet says so."""
    faults = list(dict.fromkeys(fault for kept in results.values() for fault in kept))
    rows = [
        ["fault", *results],
        ["---"] * (len(results) + 1),
        ["**planted**", *(_planted(kept, len(faults)) for kept in results.values())],
        ["**caught**", *(_total(kept, lambda outcome: bool(outcome["by"])) for kept in results.values())],
        ["**named right**", *(_total(kept, is_named) for kept in results.values())],
    ]
    rows += [[fault, *(_cell(kept.get(fault)) for kept in results.values())] for fault in faults]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _outcomes(kept: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [entry["outcome"] for entry in kept.values() if entry["outcome"] is not None]


def _planted(kept: Mapping[str, Mapping[str, Any]], listed: int) -> str:
    missing = f", {listed - len(kept)} not run" if len(kept) < listed else ""
    return f"{len(_outcomes(kept))}{missing}"


def _total(kept: Mapping[str, Mapping[str, Any]], counts: Callable[[Mapping[str, Any]], bool]) -> str:
    outcomes = _outcomes(kept)
    number = sum(map(counts, outcomes))
    return f"{number} ({100 * number / len(outcomes):.0f} %)" if outcomes else "not run"


def _cell(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return "not run"
    outcome = entry["outcome"]
    if outcome is None:
        return "no place"
    if not outcome["by"]:
        return "**not caught**"
    return outcome["by"] if is_named(outcome) else f"{outcome['by']}, **not named**"


def write_into(page: Path, text: str) -> None:
    """Put `text` between the marker comments of `page`."""
    before, found, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise SystemExit(f"{page} has no markers {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")
