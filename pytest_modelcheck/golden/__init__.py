"""Outputs against a file that another framework, another version, or an earlier run computed."""

from pytest_modelcheck.golden.check import GoldenReport, check_golden
from pytest_modelcheck.golden.file import Golden, GoldenError, read_golden, write_golden
from pytest_modelcheck.golden.record import record_golden

__all__ = ["Golden", "GoldenError", "GoldenReport", "check_golden", "read_golden", "record_golden", "write_golden"]
