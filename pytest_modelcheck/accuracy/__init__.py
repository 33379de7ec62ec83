"""Comparing outputs, seed sweeps, the guilty pass, the first diverging node."""

from pytest_modelcheck.accuracy.comparison import Comparison, compare
from pytest_modelcheck.accuracy.first_divergence import Divergence, find_first_divergence
from pytest_modelcheck.accuracy.guilty_pass import GuiltyPass, UnusableReferenceError, find_guilty_pass
from pytest_modelcheck.accuracy.output import OutputComparison, OutputStatus
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
from pytest_modelcheck.accuracy.tolerance import TOLERANCES, Tolerance

__all__ = [
    "TOLERANCES",
    "Comparison",
    "Divergence",
    "GuiltyPass",
    "OutputComparison",
    "OutputStatus",
    "PairReport",
    "SeedResult",
    "Stage",
    "SweepReport",
    "Tolerance",
    "UnusableReferenceError",
    "compare",
    "find_first_divergence",
    "find_guilty_pass",
    "nonfinite_parameters",
    "session_stage",
    "standard_stages",
    "sweep",
    "to_numpy",
    "torch_stage",
]
