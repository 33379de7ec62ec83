"""The registry of gates: one file per marker, one line here. Importing it loads neither torch nor onnx."""

from pytest_modelcheck.gates import accuracy, hierarchy, ops, reduction
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError

GATES: tuple[Gate, ...] = (
    reduction.GATE,
    ops.GATE,
    accuracy.GATE,
    hierarchy.GATE,
)

__all__ = ["GATES", "Gate", "GateResult", "MarkerError"]
