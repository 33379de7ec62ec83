"""Parity: a key/value cache against the full pass, a saved state against the module, outputs against golden files."""

from pytest_modelcheck.parity.cache import CacheParity, cache_parity
from pytest_modelcheck.parity.protocol import CacheProtocol, NoCacheError, StepError
from pytest_modelcheck.parity.state import StateRoundtrip, state_roundtrip
from pytest_modelcheck.parity.state_file import StateFileError, load_state, save_state

__all__ = [
    "CacheParity",
    "CacheProtocol",
    "NoCacheError",
    "StateFileError",
    "StateRoundtrip",
    "StepError",
    "cache_parity",
    "load_state",
    "save_state",
    "state_roundtrip",
]
