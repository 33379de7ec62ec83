"""Paired latency, memory, host transfers."""

from pytest_modelcheck.performance.baseline import (
    BaselineError,
    BaselineGraph,
    locked_graph,
    render_baseline,
    same_graph,
)
from pytest_modelcheck.performance.flops import FlopUse, count_flops
from pytest_modelcheck.performance.growth import Growth, GrowthError, fit_growth
from pytest_modelcheck.performance.judging import Judgement, PairedLatency, evaluate_regression, evaluate_speedup
from pytest_modelcheck.performance.latency import measure_paired
from pytest_modelcheck.performance.memcpy import copies_across, copies_text
from pytest_modelcheck.performance.memory import MemoryUse, peak_memory
from pytest_modelcheck.performance.op_profile import module_times, node_owners, slower_modules
from pytest_modelcheck.performance.resizing import resized
from pytest_modelcheck.performance.rounds import FreshSession
from pytest_modelcheck.performance.run_times import RunTimes, UntimedError
from pytest_modelcheck.performance.session_memory import PeakUnknownError, peak_growth
from pytest_modelcheck.performance.stored import SessionTimes, StoredTimes, compare_stored, session_times, time_key
from pytest_modelcheck.performance.throughput import Throughput, per_second
from pytest_modelcheck.performance.transfer_record import Transfer, TransferKind
from pytest_modelcheck.performance.transfers import host_transfers

__all__ = [
    "BaselineError",
    "BaselineGraph",
    "FlopUse",
    "FreshSession",
    "Growth",
    "GrowthError",
    "Judgement",
    "MemoryUse",
    "PairedLatency",
    "PeakUnknownError",
    "RunTimes",
    "SessionTimes",
    "StoredTimes",
    "Throughput",
    "Transfer",
    "TransferKind",
    "UntimedError",
    "compare_stored",
    "copies_across",
    "copies_text",
    "count_flops",
    "evaluate_regression",
    "evaluate_speedup",
    "fit_growth",
    "host_transfers",
    "locked_graph",
    "measure_paired",
    "module_times",
    "node_owners",
    "peak_growth",
    "peak_memory",
    "per_second",
    "render_baseline",
    "resized",
    "same_graph",
    "session_times",
    "slower_modules",
    "time_key",
]
