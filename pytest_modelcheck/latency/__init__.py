"""Paired latency of two graphs, and what is kept to be timed against."""

from pytest_modelcheck.latency.baseline import BaselineError, BaselineGraph, locked_graph, render_baseline, same_graph
from pytest_modelcheck.latency.judgement import Judgement, PairedLatency, evaluate_regression, evaluate_speedup
from pytest_modelcheck.latency.memcpy import copies_across, copies_text
from pytest_modelcheck.latency.op_profile import module_times, node_owners, slower_modules
from pytest_modelcheck.latency.paired import measure_paired
from pytest_modelcheck.latency.rounds import FreshSession
from pytest_modelcheck.latency.run_times import RunTimes, UntimedError
from pytest_modelcheck.latency.session_memory import PeakUnknownError, peak_growth
from pytest_modelcheck.latency.stored import SessionTimes, StoredTimes, compare_stored, session_times, time_key
from pytest_modelcheck.latency.throughput import Throughput, per_second

__all__ = [
    "BaselineError",
    "BaselineGraph",
    "FreshSession",
    "Judgement",
    "PairedLatency",
    "PeakUnknownError",
    "RunTimes",
    "SessionTimes",
    "StoredTimes",
    "Throughput",
    "UntimedError",
    "compare_stored",
    "copies_across",
    "copies_text",
    "evaluate_regression",
    "evaluate_speedup",
    "locked_graph",
    "measure_paired",
    "module_times",
    "node_owners",
    "peak_growth",
    "per_second",
    "render_baseline",
    "same_graph",
    "session_times",
    "slower_modules",
    "time_key",
]
