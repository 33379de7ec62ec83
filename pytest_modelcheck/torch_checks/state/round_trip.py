"""State round trip: what `save` wrote, `load` gives back bit for bit; what it must not load, it refuses untouched.

1. The state is loaded into a module built under another seed whose every entry was overwritten: each entry, and each
   output of each seed, must have the original's bits; entries that share memory must share it again.
2. Weights and runtime state are apart: a forward in eval mode changes no entry of the state; runtime state (buffers
   that a forward changes) can be saved and put back; outputs do not depend on state that no save sees.
3. Files that are damaged or do not fit are an error that names the file or the entry, and change nothing.
4. A file of an older version determines the outputs alone: two modules with different contents before give the same
   bits after it was loaded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pytest_modelcheck.accuracy import compare, to_numpy
from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.calling.fingerprints import (
    hash_of,
    output_hashes,
    outside_state,
    shared_entries,
    state_hashes,
    tensor_hash,
)
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.result import Finding, listed
from pytest_modelcheck.torch_checks.state.bad_files import Refusal, bad_files, offer
from pytest_modelcheck.torch_checks.state.file import Load, Save, load_state, save_state
from pytest_modelcheck.torch_checks.state.runtime_state import hidden_state, runtime_state
from pytest_modelcheck.torch_checks.state.trip import Trip

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRoundtrip:
    """What the round trips of one module came to.

    Attributes:
        entries: Tensors in the state.
        seeds: Sets of inputs whose outputs were compared bit for bit.
        runtime: Buffers that a forward changes.
        refusals: One per bad file.
        older: Names of the older files that were loaded.
        findings: What is wrong; empty if all is well.
    """

    entries: int
    seeds: int
    runtime: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    older: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return not self.findings

    @property
    def text(self) -> str:
        """The figures in one clause."""
        refused = sum(not refusal.fault for refusal in self.refusals)
        parts = [f"{self.entries} entries, outputs of {self.seeds} seeds bit for bit"]
        parts += [f"runtime state apart: {', '.join(self.runtime)}"] if self.runtime else []
        parts.append(f"{refused} of {len(self.refusals)} bad files refused")
        parts += [f"older: {', '.join(self.older)}"] if self.older else []
        return "; ".join(parts)


def state_roundtrip(
    case: ModelCase,
    module: torch.nn.Module,
    inputs: Callable[[int], ModuleInputs],
    *,
    seeds: int = 3,
    older: Sequence[Path] = (),
    save: Save = save_state,
    load: Load = load_state,
) -> StateRoundtrip:
    """Save, load, damage and compare.

    Args:
        case: Builds further modules of the same kind.
        module: The original, in eval mode; left as it was found.
        inputs: seed -> inputs.
        seeds: Outputs of the seeds 0 to `seeds` - 1 are compared.
        older: Files of older versions.
        save, load: ``save(module, path)`` and ``load(module, path)``; the project's own functions.
    """
    trip = Trip(case, module, inputs, save, load)
    runtime: tuple[str, ...] = ()
    refusals: list[Refusal] = []
    try:
        entries = len(state_hashes(module, runtime=False))
        if not entries:
            raise ModelCheckError(f"{case.name}: has no state: its state_dict holds no tensor")
        findings = bad_reference(trip) or hidden_state(trip)
        with tempfile.TemporaryDirectory(prefix="modelcheck-") as name:
            folder = Path(name)
            good = folder / "state.pt"
            if not findings:
                trip.save_to(good)
                target = trip.another_module()
                save(target, folder / "another.pt")  # what was saved last is not what is loaded: the file decides
                findings = blind(trip, target) or round_trip(trip, target, good, seeds)
                findings = findings or lost_parameters(trip, target, folder / "parameters.pt")
            if not findings:
                runtime, findings = runtime_state(trip, target)
                refusals = [offer(load, target, bad) for bad in bad_files(module, good, folder, save)]
                findings += refusal_findings(trip, refusals)
            for path in older:
                findings += older_file(trip, path)
    except ModelCheckError as error:
        entries, findings = 0, [trip.finding("state", "a module whose state can be saved", str(error), error=True)]
    return StateRoundtrip(
        entries=entries,
        seeds=seeds,
        runtime=runtime,
        refusals=tuple(refusals),
        older=tuple(path.name for path in older),
        findings=tuple(findings),
    )


def bad_reference(trip: Trip) -> list[Finding]:
    """Outputs that are NaN or constant are equal to themselves, whatever was loaded."""
    outputs = {name: to_numpy(tensor) for name, tensor in trip.run(trip.module, 0).items()}
    finding = compare(outputs, outputs, model=trip.case.name, context="before saving").finding
    return [finding] if finding else []


def blind(trip: Trip, target: torch.nn.Module) -> list[Finding]:
    """Outputs that are the same before anything was loaded."""
    try:
        same = output_hashes(trip.run(target, 0)) == output_hashes(trip.run(trip.module, 0))
    except ModelCheckError:  # overwritten integers may be no indices any more: the outputs differ, then
        same = False
    if not same:
        return []
    return [
        trip.finding(
            "outputs",
            "outputs that depend on the state",
            "the same bits from a module with every entry of its state overwritten",
            next_step="Name outputs that the weights reach in output_names.",
            error=True,
        )
    ]


def round_trip(trip: Trip, target: torch.nn.Module, good: Path, seeds: int) -> list[Finding]:
    try:
        trip.load(target, good)
    except Exception as error:  # the project's own function, and hooks of the module
        found = f"{type(error).__name__}: {error}"
        return [trip.finding("state file", "the file that was just saved to load", " ".join(found.split()))]
    expected, found_entries = state_hashes(trip.module, runtime=False), state_hashes(target, runtime=False)
    differing = [name for name in expected if found_entries.get(name) != expected[name]]
    if differing:
        return [
            trip.finding(
                "state after loading",
                f"the bits of all {len(expected)} entries",
                f"other ones in {len(differing)}: {listed(differing, _SHOWN)}",
                next_step="Look at state_dict hooks, get_extra_state, and at what save() and load() leave out.",
            )
        ]
    findings = []
    if shared_entries(trip.module) != shared_entries(target):
        lost = sorted(set(shared_entries(trip.module)) ^ set(shared_entries(target)))
        findings.append(
            trip.finding(
                "shared entries",
                "entries that share memory to share it after loading",
                f"a difference in {'; '.join(' = '.join(group) for group in lost)}",
            )
        )
    for seed in range(seeds):
        reference, outputs = trip.run(trip.module, seed), trip.run(target, seed)
        names = [name for name, tensor in reference.items() if hash_of(outputs, name) != tensor_hash(tensor)]
        if names:
            findings.append(_outputs_differ(trip, target, names, seed))
            break
    return findings


def _outputs_differ(trip: Trip, target: torch.nn.Module, names: Sequence[str], seed: int) -> Finding:
    own, other = outside_state(trip.module), outside_state(target)
    outside = [name for name in own if own[name] != other.get(name)]
    return trip.finding(
        f"output {names[0]!r} after loading",
        "the bits of the original, from a module built under another seed with this state loaded",
        "other ones, though every entry of the state is equal",
        context=f"seed {seed}",
        where=tuple(f"{name}: is not in the state and differs between the two" for name in outside[:_SHOWN]),
        next_step="What the outputs depend on belongs in the state (a parameter or a persistent buffer), or must "
        "be made the same in every build.",
    )


def lost_parameters(trip: Trip, target: torch.nn.Module, path: Path) -> list[Finding]:
    """A parameter that a hook keeps out of the state: one that was never trained has its default after loading, too.

    So the trip is made once more from a module in which those parameters hold something else.
    """
    source = trip.another_module(0.25)
    entries = source.state_dict()
    outside = [name for name, _ in source.named_parameters(remove_duplicate=False) if name not in entries]
    if not outside:
        return []
    trip.save(source, path)
    trip.load(target, path)
    if output_hashes(trip.run(target, 0)) == output_hashes(trip.run(source, 0)):
        return []
    return [
        trip.finding(
            "parameters",
            "those of the module in its state",
            f"others after loading: {listed(outside, _SHOWN)}",
            next_step="A hook of state_dict leaves them out: what they were trained to is lost.",
        )
    ]


def refusal_findings(trip: Trip, refusals: Sequence[Refusal]) -> list[Finding]:
    faults = [refusal for refusal in refusals if refusal.fault]
    if not faults:
        return []
    return [
        trip.finding(
            "bad state files",
            f"all {len(refusals)} to raise a clear error and leave the module as it was",
            f"{len(faults)} that do not",
            where=tuple(f"{refusal.name}: {refusal.fault}" for refusal in faults),
            next_step="pytest_modelcheck.torch_checks.state.load_state checks sums, names, shapes and dtypes, and "
            "gives every tensor its content back when loading fails.",
        )
    ]


def older_file(trip: Trip, path: Path) -> list[Finding]:
    made = [trip.another_module(shift) for shift in (0.125, 0.25)]
    before = [state_hashes(module, runtime=False) for module in made]
    context = f"older file {path.name}"
    outputs = []
    for module in made:
        try:
            trip.load(module, path)
        except Exception as error:  # the project's own function, and hooks of the module
            found = " ".join(f"{type(error).__name__}: {error}".split())
            return [trip.finding("older state", "a file that loads", found, context=context)]
        outputs.append(trip.run(module, 0))
    arrays = {name: to_numpy(tensor) for name, tensor in outputs[0].items()}
    if finding := compare(arrays, arrays, model=trip.case.name, context=context).finding:
        return [finding]
    if output_hashes(outputs[0]) == output_hashes(outputs[1]):
        return []
    kept = [
        name
        for name, after in state_hashes(made[0], runtime=False).items()
        if before[0].get(name) == after and before[0][name] != before[1].get(name)
    ]
    return [
        trip.finding(
            "older state",
            "outputs that the file alone determines",
            "other outputs where the module held other values before",
            context=context,
            where=tuple(f"{name}: keeps what the module held" for name in kept[:_SHOWN]),
            next_step="Give entries that the older version did not have their default in _load_from_state_dict.",
        )
    ]
