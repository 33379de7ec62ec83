"""Bytes and operations of one forward pass, counted and not timed, and how they grow."""

from pytest_modelcheck.torch_checks.memory.flops import FlopUse, count_flops
from pytest_modelcheck.torch_checks.memory.forward import MemoryUse, peak_memory
from pytest_modelcheck.torch_checks.memory.growth import Growth, GrowthError, fit_growth

__all__ = ["FlopUse", "Growth", "GrowthError", "MemoryUse", "count_flops", "fit_growth", "peak_memory"]
