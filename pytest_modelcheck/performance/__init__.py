"""Paired latency, memory, host transfers."""

from pytest_modelcheck.performance.judging import Judgement, PairedLatency, evaluate_regression, evaluate_speedup
from pytest_modelcheck.performance.latency import measure_paired

__all__ = ["Judgement", "PairedLatency", "evaluate_regression", "evaluate_speedup", "measure_paired"]
