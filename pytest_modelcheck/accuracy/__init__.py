"""Comparing outputs and weights, seed sweeps, the guilty pass, the first diverging node."""

from pytest_modelcheck.accuracy.assessment import assess, standard_variants
from pytest_modelcheck.accuracy.cause import Subject
from pytest_modelcheck.accuracy.comparison import Comparison, compare
from pytest_modelcheck.accuracy.first_divergence import Divergence, find_first_divergence
from pytest_modelcheck.accuracy.guilty_pass import GuiltyPass, UnusableReferenceError, find_guilty_pass
from pytest_modelcheck.accuracy.in_runtime import RuntimeReport, check_in_runtime
from pytest_modelcheck.accuracy.output import OutputComparison, OutputStatus
from pytest_modelcheck.accuracy.quantized import rounds_to_integers
from pytest_modelcheck.accuracy.stages import (
    Stage,
    nonfinite_parameters,
    session_stage,
    standard_stages,
    to_numpy,
    torch_stage,
)
from pytest_modelcheck.accuracy.sweep import sweep
from pytest_modelcheck.accuracy.sweep_report import PairReport, SeedResult, SweepReport
from pytest_modelcheck.accuracy.switches import (
    GuiltySwitch,
    Switchable,
    find_guilty_runtime_rewrite,
    find_guilty_switch,
)
from pytest_modelcheck.accuracy.tolerance import TOLERANCES, Tolerance, Tolerances
from pytest_modelcheck.accuracy.variants import Variant
from pytest_modelcheck.accuracy.weights import ChangedWeight, WeightsReport, compare_weights

__all__ = [
    "TOLERANCES",
    "ChangedWeight",
    "Comparison",
    "Divergence",
    "GuiltyPass",
    "GuiltySwitch",
    "OutputComparison",
    "OutputStatus",
    "PairReport",
    "RuntimeReport",
    "SeedResult",
    "Stage",
    "Subject",
    "SweepReport",
    "Switchable",
    "Tolerance",
    "Tolerances",
    "UnusableReferenceError",
    "Variant",
    "WeightsReport",
    "assess",
    "check_in_runtime",
    "compare",
    "compare_weights",
    "find_first_divergence",
    "find_guilty_pass",
    "find_guilty_runtime_rewrite",
    "find_guilty_switch",
    "nonfinite_parameters",
    "rounds_to_integers",
    "session_stage",
    "standard_stages",
    "standard_variants",
    "sweep",
    "to_numpy",
    "torch_stage",
]
