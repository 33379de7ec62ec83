"""Public names for what is counted and timed: `measure_paired`, `peak_memory`, `host_transfers`."""

from pytest_modelcheck.latency import measure_paired
from pytest_modelcheck.torch_checks.memory import peak_memory
from pytest_modelcheck.torch_checks.transfers import host_transfers

__all__ = ["host_transfers", "measure_paired", "peak_memory"]
