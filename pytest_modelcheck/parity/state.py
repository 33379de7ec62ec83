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
from pytest_modelcheck.calling import (
    ModuleInputs,
    bind_arguments,
    build_module,
    run_module,
    select_outputs,
    unchanged_buffers,
)
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.model_case import BUILD_SEED, ModelCase
from pytest_modelcheck.parity.bad_state_files import Refusal, bad_files, offer, other_values
from pytest_modelcheck.parity.fingerprints import (
    attribute_texts,
    buffer_hashes,
    hash_of,
    output_hashes,
    outside_state,
    shared_entries,
    state_hashes,
    tensor_hash,
)
from pytest_modelcheck.parity.state_file import Load, Save, load_state, save_state
from pytest_modelcheck.result import Finding, Verdict

_SHOWN = 5
Outputs = dict[str, torch.Tensor]


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
    trip = _Trip(case, module, inputs, max(seeds, 3), save, load)
    runtime: tuple[str, ...] = ()
    refusals: list[Refusal] = []
    try:
        entries = len(state_hashes(module, runtime=False))
        if not entries:
            raise ModelCheckError(f"{case.name}: has no state: its state_dict holds no tensor")
        findings = trip.bad_reference() or trip.hidden_state()
        with tempfile.TemporaryDirectory(prefix="modelcheck-") as name:
            folder = Path(name)
            good = folder / "state.pt"
            if not findings:
                trip.save_to(good)
                target = trip.another_module()
                findings = trip.blind(target) or trip.round_trip(target, good, seeds)
            if not findings:
                runtime, findings = trip.runtime_state(target)
                refusals = [offer(load, target, bad) for bad in bad_files(module, good, folder, save)]
                findings += trip.refusal_findings(refusals)
            for path in older:
                findings += trip.older_file(path)
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


@dataclass(frozen=True, slots=True)
class _Trip:
    """The parts of one round trip; each gives findings."""

    case: ModelCase
    module: torch.nn.Module
    inputs: Callable[[int], ModuleInputs]
    seeds: int
    save: Save
    load: Load

    def bad_reference(self) -> list[Finding]:
        """Outputs that are NaN or constant are equal to themselves, whatever was loaded."""
        outputs = {name: to_numpy(tensor) for name, tensor in self.run(self.module, 0).items()}
        finding = compare(outputs, outputs, model=self.case.name, context="before saving").finding
        return [finding] if finding else []

    def hidden_state(self) -> list[Finding]:
        """Outputs that depend on earlier calls though every buffer has its content back."""
        before = attribute_texts(self.module)
        first = output_hashes(self.run(self.module, 0))
        self.run(self.module, 1)
        if output_hashes(self.run(self.module, 0)) == first:
            return []
        after = attribute_texts(self.module)
        changed = [name for name, value in after.items() if before.get(name) != value]
        return [
            self.finding(
                "runtime state",
                "outputs that do not depend on earlier calls once every buffer has its content back",
                "other outputs for the same inputs after a call with others",
                where=tuple(f"{name}: an attribute that a forward changed" for name in changed[:_SHOWN]),
                next_step="Keep runtime state in buffers: register_buffer(name, tensor, persistent=False). If nothing "
                "is kept, the module is not deterministic.",
            )
        ]

    def save_to(self, path: Path) -> None:
        try:
            self.save(self.module, path)
        except Exception as error:  # the project's own function
            raise ModelCheckError(f"{self.case.name}: save() raised {type(error).__name__}: {error}") from error
        if not path.is_file():
            raise ModelCheckError(f"{self.case.name}: save() wrote no file at the path it was given")

    def another_module(self, shift: float = 0.125) -> torch.nn.Module:
        """A module of the same kind from another seed, every entry of its state overwritten."""
        made = build_module(self.case, seed=BUILD_SEED + 1)
        with torch.no_grad():
            for tensor in made.state_dict(keep_vars=True).values():
                if isinstance(tensor, torch.Tensor):
                    tensor.copy_(other_values(tensor, shift))
        return made

    def blind(self, target: torch.nn.Module) -> list[Finding]:
        """Outputs that are the same before anything was loaded."""
        try:
            same = output_hashes(self.run(target, 0)) == output_hashes(self.run(self.module, 0))
        except ModelCheckError:  # overwritten integers may be no indices any more: the outputs differ, then
            same = False
        if not same:
            return []
        return [
            self.finding(
                "outputs",
                "outputs that depend on the state",
                "the same bits from a module with every entry of its state overwritten",
                next_step="Name outputs that the weights reach in output_names.",
                error=True,
            )
        ]

    def round_trip(self, target: torch.nn.Module, good: Path, seeds: int) -> list[Finding]:
        try:
            self.load(target, good)
        except Exception as error:  # the project's own function, and hooks of the module
            found = f"{type(error).__name__}: {error}"
            return [self.finding("state file", "the file that was just saved to load", " ".join(found.split()))]
        expected, found_entries = state_hashes(self.module, runtime=False), state_hashes(target, runtime=False)
        differing = [name for name in expected if found_entries.get(name) != expected[name]]
        if differing:
            more = f" and {len(differing) - _SHOWN} more" if len(differing) > _SHOWN else ""
            return [
                self.finding(
                    "state after loading",
                    f"the bits of all {len(expected)} entries",
                    f"other ones in {len(differing)}: {', '.join(differing[:_SHOWN])}{more}",
                    next_step="Look at state_dict hooks, get_extra_state, and at what save() and load() leave out.",
                )
            ]
        findings = []
        if shared_entries(self.module) != shared_entries(target):
            lost = sorted(set(shared_entries(self.module)) ^ set(shared_entries(target)))
            findings.append(
                self.finding(
                    "shared entries",
                    "entries that share memory to share it after loading",
                    f"a difference in {'; '.join(' = '.join(group) for group in lost)}",
                )
            )
        for seed in range(seeds):
            reference, outputs = self.run(self.module, seed), self.run(target, seed)
            names = [name for name, tensor in reference.items() if hash_of(outputs, name) != tensor_hash(tensor)]
            if names:
                findings.append(self._outputs_differ(target, names, seed))
                break
        return findings

    def _outputs_differ(self, target: torch.nn.Module, names: Sequence[str], seed: int) -> Finding:
        own, other = outside_state(self.module), outside_state(target)
        outside = [name for name in own if own[name] != other.get(name)]
        return self.finding(
            f"output {names[0]!r} after loading",
            "the bits of the original, from a module built under another seed with this state loaded",
            "other ones, though every entry of the state is equal",
            context=f"seed {seed}",
            where=tuple(f"{name}: is not in the state and differs between the two" for name in outside[:_SHOWN]),
            next_step="What the outputs depend on belongs in the state (a parameter or a persistent buffer), or must "
            "be made the same in every build.",
        )

    def runtime_state(self, target: torch.nn.Module) -> tuple[tuple[str, ...], list[Finding]]:
        """Which buffers a forward changes; none of them in the state, and together all there is to put back."""
        with unchanged_buffers(target):
            entries, buffers = state_hashes(target, runtime=False), buffer_hashes(target)
            self._keep(target, 0)
            mixed = [name for name, now in state_hashes(target, runtime=False).items() if entries.get(name) != now]
            runtime = tuple(name for name, now in buffer_hashes(target).items() if buffers.get(name) != now)
            if mixed:
                return runtime, [
                    self.finding(
                        "state",
                        "weights only: entries that a forward in eval mode leaves as they are",
                        f"runtime state among them: {', '.join(mixed[:_SHOWN])}",
                        next_step="Register it with persistent=False and save it in a file of its own.",
                    )
                ]
            if not runtime:
                return (), []
            with tempfile.TemporaryDirectory(prefix="modelcheck-") as folder:
                path = Path(folder) / "runtime.pt"
                torch.save({name: buffer.clone() for name, buffer in target.named_buffers()}, path)
                expected = output_hashes(self._keep(target, 1))
                self._keep(target, 2)
                for name, tensor in torch.load(path, weights_only=True).items():
                    owner, _, leaf = name.rpartition(".")
                    target.get_submodule(owner)._buffers[leaf] = tensor
            if output_hashes(self._keep(target, 1)) == expected:
                return runtime, []
        return runtime, [
            self.finding(
                "runtime state",
                f"the bits of a continued run from the saved buffers ({', '.join(runtime)})",
                "other outputs",
                next_step="Part of the runtime state lies outside the buffers: keep all of it in buffers.",
            )
        ]

    def refusal_findings(self, refusals: Sequence[Refusal]) -> list[Finding]:
        faults = [refusal for refusal in refusals if refusal.fault]
        if not faults:
            return []
        return [
            self.finding(
                "bad state files",
                f"all {len(refusals)} to raise a clear error and leave the module as it was",
                f"{len(faults)} that do not",
                where=tuple(f"{refusal.name}: {refusal.fault}" for refusal in faults),
                next_step="pytest_modelcheck.parity.load_state checks sums, names, shapes and dtypes, and gives every "
                "tensor its content back when loading fails.",
            )
        ]

    def older_file(self, path: Path) -> list[Finding]:
        made = [self.another_module(shift) for shift in (0.125, 0.25)]
        before = [state_hashes(module, runtime=False) for module in made]
        context = f"older file {path.name}"
        outputs = []
        for module in made:
            try:
                self.load(module, path)
            except Exception as error:  # the project's own function, and hooks of the module
                found = " ".join(f"{type(error).__name__}: {error}".split())
                return [self.finding("older state", "a file that loads", found, context=context)]
            outputs.append(self.run(module, 0))
        arrays = {name: to_numpy(tensor) for name, tensor in outputs[0].items()}
        if finding := compare(arrays, arrays, model=self.case.name, context=context).finding:
            return [finding]
        if output_hashes(outputs[0]) == output_hashes(outputs[1]):
            return []
        kept = [
            name
            for name, after in state_hashes(made[0], runtime=False).items()
            if before[0].get(name) == after and before[0][name] != before[1].get(name)
        ]
        return [
            self.finding(
                "older state",
                "outputs that the file alone determines",
                "other outputs where the module held other values before",
                context=context,
                where=tuple(f"{name}: keeps what the module held" for name in kept[:_SHOWN]),
                next_step="Give entries that the older version did not have their default in _load_from_state_dict.",
            )
        ]

    def run(self, module: torch.nn.Module, seed: int) -> Outputs:
        return run_module(self.case, module, self.inputs(seed))

    def _keep(self, module: torch.nn.Module, seed: int) -> Outputs:
        """A forward whose changes to the buffers stay."""
        with torch.no_grad():
            positional, named = bind_arguments(module.forward, self.inputs(seed).forward_arguments())
            return select_outputs(self.case, module(*positional, **named))

    def finding(
        self,
        subject: str,
        expected: str,
        found: str,
        *,
        context: str = "",
        where: tuple[str, ...] = (),
        next_step: str = "",
        error: bool = False,
    ) -> Finding:
        return Finding(
            gate="expect_state_roundtrip",
            model=self.case.name,
            subject=subject,
            expected=expected,
            found=found.removeprefix(f"{self.case.name}: "),
            context=context,
            where=where,
            next=next_step,
            verdict=Verdict.ERROR if error else Verdict.FAIL,
        )
