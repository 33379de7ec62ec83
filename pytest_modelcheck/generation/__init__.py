"""Greedy generation: the tokens of a torch decoder against those of its export, whose cache goes from step to step."""

from pytest_modelcheck.generation.compared import GenerationReport, Step, compare_generation
from pytest_modelcheck.generation.greedy import tokens_of_session, tokens_of_torch
from pytest_modelcheck.generation.wiring import Wiring, wiring_of

__all__ = [
    "GenerationReport",
    "Step",
    "Wiring",
    "compare_generation",
    "tokens_of_session",
    "tokens_of_torch",
    "wiring_of",
]
