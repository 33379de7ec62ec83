"""Paired latency, memory, host transfers."""

from pytest_modelcheck.performance.growth import Growth, GrowthError, fit_growth
from pytest_modelcheck.performance.judging import Judgement, PairedLatency, evaluate_regression, evaluate_speedup
from pytest_modelcheck.performance.latency import measure_paired
from pytest_modelcheck.performance.memory import MemoryUse, peak_memory
from pytest_modelcheck.performance.transfer_record import Transfer, TransferKind
from pytest_modelcheck.performance.transfers import host_transfers

__all__ = [
    "Growth",
    "GrowthError",
    "Judgement",
    "MemoryUse",
    "PairedLatency",
    "Transfer",
    "TransferKind",
    "evaluate_regression",
    "evaluate_speedup",
    "fit_growth",
    "host_transfers",
    "measure_paired",
    "peak_memory",
]
