"""Gates: one file per marker. Importing this loads neither torch nor onnx, nor any gate before its marker is read.

A gate is registered as an entry point of the group ``pytest_modelcheck.gates`` under the name of its marker, ours in
pyproject.toml as those of other packages in theirs, or named by the ini option ``modelcheck_gates``.
"""

from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError
from pytest_modelcheck.gates.registry import Gates, registered_gates

__all__ = ["Gate", "GateResult", "Gates", "MarkerError", "registered_gates"]
