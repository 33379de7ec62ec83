"""The registry of gates: one file per marker, one line here. Importing it loads neither torch nor onnx."""

from pytest_modelcheck.gates import accuracy as accuracy
from pytest_modelcheck.gates import fusion as fusion
from pytest_modelcheck.gates import golden as golden
from pytest_modelcheck.gates import hierarchy as hierarchy
from pytest_modelcheck.gates import interface as interface
from pytest_modelcheck.gates import latency as latency
from pytest_modelcheck.gates import ops as ops
from pytest_modelcheck.gates import reduction as reduction
from pytest_modelcheck.gates.gate import Gate, GateResult, MarkerError
from pytest_modelcheck.torch_checks.gates import cache_parity as cache_parity
from pytest_modelcheck.torch_checks.gates import compile as compile
from pytest_modelcheck.torch_checks.gates import host_transfers as host_transfers
from pytest_modelcheck.torch_checks.gates import memory as memory
from pytest_modelcheck.torch_checks.gates import state_roundtrip as state_roundtrip

GATES: tuple[Gate, ...] = (
    interface.GATE,
    reduction.GATE,
    ops.GATE,
    accuracy.GATE,
    hierarchy.GATE,
    fusion.GATE,
    latency.GATE,
    memory.GATE,
    host_transfers.GATE,
    compile.GATE,
    cache_parity.GATE,
    state_roundtrip.GATE,
    golden.GATE,
)

__all__ = ["GATES", "Gate", "GateResult", "MarkerError"]
