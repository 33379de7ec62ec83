"""Checking a model against a golden file, and the file against the model.

First the hashes: other weights or other inputs are a finding of their own, because their numbers cannot be compared.
Then the outputs. Where they agree, the test itself is tested: one weight and one input are changed, and the comparison
has to fail; a golden test that does not see either is refused as blind.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from pytest_modelcheck.accuracy import Comparison, to_numpy
from pytest_modelcheck.accuracy.comparison import compare_within
from pytest_modelcheck.accuracy.tolerance import DEFAULTS, Tolerances
from pytest_modelcheck.calling import ModuleInputs, run_module
from pytest_modelcheck.calling.fingerprints import state_hashes, tensor_hash
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.golden.file import Golden
from pytest_modelcheck.golden.probes import GoldenProbe, probe_inputs, probe_weights
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.result import Finding, error_finding, first_lines

_finding = partial(error_finding, "expect_golden")

Array = np.ndarray[Any, np.dtype[Any]]
Outputs = Mapping[str, Array]
Candidate = Callable[[ModuleInputs], Outputs]

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenReport:
    """A model against a golden file.

    Attributes:
        golden: The reference.
        stage: What was compared with it: ``torch``, ``exported`` or ``optimized``.
        comparisons: One per seed; empty where weights or inputs are not those of the reference.
        probes: One per changed weight or input.
        findings: What is wrong; empty if every seed agrees and the changes were seen.
    """

    golden: Golden
    stage: str
    comparisons: tuple[Comparison, ...]
    probes: tuple[GoldenProbe, ...]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return not self.findings

    @property
    def scaled(self) -> float:
        """Largest scaled difference of any seed; NaN if one could not be measured."""
        return float(np.max([comparison.scaled for comparison in self.comparisons] or [np.nan]))

    @property
    def text(self) -> str:
        """The figures in one clause."""
        counts = []
        for kind in ("weight", "input"):
            probes = [probe for probe in self.probes if probe.kind == kind]
            counts.append(f"{sum(probe.seen for probe in probes)} of {len(probes)} changed {kind}s seen")
        return f"{self.stage} against {self.golden.producer} {self.scaled:.1e} over {len(self.comparisons)} seeds; " + (
            ", ".join(counts)
        )


def check_golden(
    golden: Golden,
    case: ModelCase,
    module: torch.nn.Module,
    inputs: Callable[[int], ModuleInputs],
    *,
    candidate: Candidate | None = None,
    stage: str = "torch",
    versions: Mapping[str, str] | None = None,
    tolerances: Tolerances = DEFAULTS,
) -> GoldenReport:
    """Compare a model with a golden reference.

    Args:
        golden: From `read_golden`.
        case, module: The model; its weights are changed one at a time and given back.
        inputs: seed -> inputs.
        candidate: What is judged, inputs -> outputs; None for the module itself.
        stage: Name of the candidate.
        versions: Those of this run, for the finding.
        tolerances: How closely the outputs must agree.
    """

    def run_torch(made: ModuleInputs) -> dict[str, Array]:
        return {name: to_numpy(tensor).copy() for name, tensor in run_module(case, module, made).items()}

    def judge(seed: int, outputs: Outputs, context: str) -> Comparison:
        return compare_within(golden.outputs[seed], outputs, tolerances, model=case.name, context=context)

    candidate = candidate or run_torch
    comparisons: list[Comparison] = []
    probes: tuple[GoldenProbe, ...] = ()
    findings: list[Finding] = []
    try:
        drawn = {seed: inputs(seed) for seed in golden.seeds}
        findings = _other_weights(golden, case, module) + _other_inputs(golden, case, drawn)
        if not findings:
            for seed, made in drawn.items():
                context = f"{stage}, seed {seed}, against {golden.producer}"
                comparison = judge(seed, candidate(made), context)
                comparisons.append(comparison)
                findings += _described(comparison, golden, versions or {})
        if not findings:
            seed, made = next(iter(drawn.items()))
            right = run_torch(made)

            def differs(outputs: Outputs) -> bool:
                return not judge(seed, outputs, "changed").passed

            weights = probe_weights(module, lambda: run_torch(made), right, differs)
            probes = (*weights, *probe_inputs(made, run_torch, right, differs))
            findings = _blind(case, probes)
    except ModelCheckError as error:
        findings.append(_finding(case.name, "golden", "a comparison", str(error).removeprefix(f"{case.name}: ")))
    return GoldenReport(
        golden=golden,
        stage=stage,
        comparisons=tuple(comparisons),
        probes=probes,
        findings=tuple(findings),
    )


def _other_weights(golden: Golden, case: ModelCase, module: torch.nn.Module) -> list[Finding]:
    """Renamed modules hold the same values under other names: their outputs can be compared."""
    found = state_hashes(module, runtime=False)
    gone = [name for name in golden.weights if name not in found]
    new = [name for name in found if name not in golden.weights]
    differing = [
        f"{name}: other values" for name in golden.weights if found.get(name, "") not in ("", golden.weights[name])
    ]
    if differing or sorted(golden.weights[name] for name in gone) != sorted(found[name] for name in new):
        differing += [f"{name}: is not in the module" for name in gone]
        differing += [f"{name}: is not in the reference" for name in new]
    if not differing:
        return []
    return [
        _finding(
            case.name,
            "weights",
            f"those of the reference ({len(golden.weights)} entries, hash by hash)",
            f"{len(differing)} other entries: the outputs cannot be compared",
            where=first_lines(differing, _SHOWN),
            next=f"The reference was computed by {golden.producer} from other weights. Load those, or compute the "
            "reference again. Random weights change with the version of torch and with every line of build().",
        )
    ]


def _other_inputs(golden: Golden, case: ModelCase, drawn: Mapping[int, ModuleInputs]) -> list[Finding]:
    differing = []
    for seed, made in drawn.items():
        found = {name: tensor_hash(tensor) for name, tensor in made.as_dict().items()}
        expected = golden.inputs[seed]
        differing += [
            f"{name} of seed {seed}: {'other values' if name in found and name in expected else 'on one side only'}"
            for name in dict.fromkeys((*expected, *found))
            if found.get(name) != expected.get(name)
        ]
    if not differing:
        return []
    return [
        _finding(
            case.name,
            "inputs",
            f"those of the reference (seeds {', '.join(map(str, golden.seeds))}, hash by hash)",
            f"{len(differing)} other inputs: the outputs cannot be compared",
            where=first_lines(differing, _SHOWN),
            next="inputs(seed) must draw what it drew when the reference was computed; if the change is meant, "
            "compute the reference again.",
        )
    ]


def _described(comparison: Comparison, golden: Golden, versions: Mapping[str, str]) -> list[Finding]:
    """The finding of a comparison, with what computed the reference."""
    if comparison.finding is None:
        return []
    recorded = ", ".join(f"{name} {version}" for name, version in golden.versions.items())
    now = [f"{name} {versions[name]}" for name, v in golden.versions.items() if versions.get(name, v) != v]
    where = [f"reference: {golden.producer} ({recorded}){f'; now {chr(44).join(now)}' if now else ''}"]
    where += [golden.note] if golden.note else []
    finding = comparison.finding
    return [
        dataclasses.replace(
            finding,
            gate="expect_golden",
            where=(*finding.where, *where),
            next=finding.next or "Weights and inputs are those of the reference, so the computation differs.",
        )
    ]


def _blind(case: ModelCase, probes: Sequence[GoldenProbe]) -> list[Finding]:
    """A finding for each kind of change of which fewer than half were seen, of those that reach the outputs at all."""
    findings = []
    for kind in ("weight", "input"):
        made = [probe for probe in probes if probe.kind == kind]
        reached = [probe for probe in made if probe.reached]
        seen = [probe for probe in reached if probe.seen]
        if seen and 2 * len(seen) >= len(reached):
            continue
        findings.append(
            _finding(
                case.name,
                "golden",
                f"a comparison that fails when one {kind} is changed by a tenth",
                f"an insensitive one: {len(seen)} of {len(made)} perturbed {kind}s were detected",
                where=first_lines(
                    [f"{probe.name}: largest effect {probe.effect:.3g}" for probe in made if not probe.seen], _SHOWN
                ),
                next="Give atol and rtol smaller values, or compare outputs that weights and inputs reach.",
            )
        )
    return findings
