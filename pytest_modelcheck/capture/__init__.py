"""Torch graphs of model cases: capture, why a capture failed, attention written out."""

from pytest_modelcheck.capture.captured import Captured, CaptureFailure, CaptureFailureKind, How
from pytest_modelcheck.capture.decomposition import decompose, written_out_attention
from pytest_modelcheck.capture.equivalence import RunComparison, compare_outputs, compare_runs
from pytest_modelcheck.capture.program_file import dynamic_program, save_program
from pytest_modelcheck.capture.torch_graph import capture

__all__ = [
    "CaptureFailure",
    "CaptureFailureKind",
    "Captured",
    "How",
    "RunComparison",
    "capture",
    "compare_outputs",
    "compare_runs",
    "decompose",
    "dynamic_program",
    "save_program",
    "written_out_attention",
]
