"""Parity: a key/value cache against the full pass, a saved state against the module, outputs against golden files."""

from pytest_modelcheck.parity.cache import CacheParity, cache_parity
from pytest_modelcheck.parity.golden import GoldenReport, check_golden
from pytest_modelcheck.parity.golden_file import Golden, GoldenError, read_golden, write_golden
from pytest_modelcheck.parity.protocol import CacheProtocol, NoCacheError, StepError
from pytest_modelcheck.parity.state import StateRoundtrip, state_roundtrip
from pytest_modelcheck.parity.state_file import StateFileError, load_state, save_state

__all__ = [
    "CacheParity",
    "CacheProtocol",
    "Golden",
    "GoldenError",
    "GoldenReport",
    "NoCacheError",
    "StateFileError",
    "StateRoundtrip",
    "StepError",
    "cache_parity",
    "check_golden",
    "load_state",
    "read_golden",
    "save_state",
    "state_roundtrip",
    "write_golden",
]
