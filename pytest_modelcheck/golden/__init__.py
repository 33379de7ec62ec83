"""Outputs against a file that another framework, or another version, computed."""

from pytest_modelcheck.golden.check import GoldenReport, check_golden
from pytest_modelcheck.golden.file import Golden, GoldenError, read_golden, write_golden

__all__ = ["Golden", "GoldenError", "GoldenReport", "check_golden", "read_golden", "write_golden"]
