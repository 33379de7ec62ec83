"""A saved state against the module it came from."""

from pytest_modelcheck.torch_checks.state.file import StateFileError, load_state, save_state
from pytest_modelcheck.torch_checks.state.round_trip import StateRoundtrip, state_roundtrip

__all__ = ["StateFileError", "StateRoundtrip", "load_state", "save_state", "state_roundtrip"]
