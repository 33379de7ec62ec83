"""Paired latency, memory, host transfers."""

from pytest_modelcheck.performance.flops import FlopUse, count_flops
from pytest_modelcheck.performance.growth import Growth, GrowthError, fit_growth
from pytest_modelcheck.performance.judging import Judgement, PairedLatency, evaluate_regression, evaluate_speedup
from pytest_modelcheck.performance.latency import measure_paired
from pytest_modelcheck.performance.memory import MemoryUse, peak_memory
from pytest_modelcheck.performance.resizing import resized
from pytest_modelcheck.performance.rounds import FreshSession
from pytest_modelcheck.performance.run_times import RunTimes
from pytest_modelcheck.performance.session_memory import PeakUnknownError, peak_growth
from pytest_modelcheck.performance.transfer_record import Transfer, TransferKind
from pytest_modelcheck.performance.transfers import host_transfers

__all__ = [
    "FlopUse",
    "FreshSession",
    "Growth",
    "GrowthError",
    "Judgement",
    "MemoryUse",
    "PairedLatency",
    "PeakUnknownError",
    "RunTimes",
    "Transfer",
    "TransferKind",
    "count_flops",
    "evaluate_regression",
    "evaluate_speedup",
    "fit_growth",
    "host_transfers",
    "measure_paired",
    "peak_growth",
    "peak_memory",
    "resized",
]
