"""Planting a list of faults into one model, and what the accuracy checks say about each."""

from dataclasses import dataclass

from pytest_modelcheck.accuracy import (
    Subject,
    compare_weights,
    find_first_divergence,
    find_guilty_pass,
    session_stage,
    sweep,
)
from pytest_modelcheck.accuracy.assessment import standard_variants
from pytest_modelcheck.accuracy.stage_run import plan
from pytest_modelcheck.accuracy.stages import PASSES
from pytest_modelcheck.accuracy.variants import vocabularies_of
from pytest_modelcheck.calling import build_module, module_inputs
from pytest_modelcheck.export import export
from pytest_modelcheck.graph.shape_inference import infer_shapes
from pytest_modelcheck.runtimes import open_session
from tests.accuracy.planting import FaultPass

LONGEST = 4
"""Nodes that a named stretch may have: what an inserted node, its reader and their neighbours come to."""


@dataclass(frozen=True)
class Outcome:
    """What became of one planted fault.

    Attributes:
        model, fault: Their names.
        by: What caught it: ``"outputs"``, ``"weights"``, ``"cannot run"``; empty where nothing did.
        pass_named, node_named: Whether the guilty pass and the node (or the weight) were named right.
        said: What was said about the place.
    """

    model: str
    fault: str
    by: str
    pass_named: bool
    node_named: bool
    said: str

    @property
    def named(self) -> bool:
        return self.pass_named and self.node_named


class PlantedModel:
    """One exported model that faults are planted into."""

    def __init__(self, case, *, seeds=3, cache=None):
        self.case = case
        self.module = build_module(case)
        artifact = export(case, module=self.module, cache=cache)
        self.graph = artifact.model
        infer_shapes(self.graph)
        self.inputs = [module_inputs(case, self.module, seed) for seed in range(seeds)]
        self.session = open_session(artifact.path, name="exported")
        subject = Subject(case=case, module=None, exported=self.graph, optimized=None)
        words = vocabularies_of(case, self.module, self.inputs[0])
        self.variants = standard_variants(subject, self.inputs[0], words)

    def drawn(self, seed):
        return module_inputs(self.case, self.module, seed) if seed >= len(self.inputs) else self.inputs[seed]

    def try_fault(self, fault):
        """Plant, look whether it is caught, ask who did it; None where the model has no place for the fault."""
        faulty = self.graph.clone()
        node = fault.plant(faulty)
        if node is None:
            return None
        stages = [
            session_stage("exported", self.session),
            session_stage("optimized", faulty, against="exported", step=PASSES),
        ]
        seeds, variants = range(len(self.inputs)), ()
        report = sweep(stages, self.drawn, seeds=seeds)
        changed = compare_weights(self.graph, faulty).changed
        if report.passed and not changed:  # what drawn inputs do not show: the other inputs that the gate runs
            variants = self.variants
            report = sweep(stages, self.drawn, seeds=seeds, variants=variants)
        runs = bool(report.pairs)
        caught = "" if report.passed else "outputs" if runs else "cannot run"
        entries = {entry.seed: entry for entry in plan(seeds, variants)}
        seed = report.pairs[0].worst_seed if runs else 0
        worst = self.drawn(seed)
        if runs and report.pairs[0].worst_variant:
            worst = entries[seed].inputs(worst)
        guilty = find_guilty_pass(self.graph, lambda seed: worst, passes=[FaultPass(fault)], seeds=[seed], weights=True)
        named, said = False, ""
        if caught == "outputs":
            found = find_first_divergence(self.graph, faulty, worst)
            said = "; ".join(found.nodes) if found else "no divergence"
            named = f"'{node.name}'" in said and len(found.nodes) <= LONGEST
        elif caught:
            said = "; ".join(finding.found for finding in report.findings)
            named = f"'{node.name}'" in said
        if not named and changed:
            read = [value.name for value in node.inputs if value is not None]
            named = any(weight.initializer in read for weight in changed)
            said = "; ".join(weight.describe() for weight in changed)
        return Outcome(
            model=self.case.name,
            fault=fault.name,
            by=caught or ("weights" if changed else ""),
            pass_named=guilty is not None and guilty.name == fault.name,
            node_named=named,
            said=said,
        )
