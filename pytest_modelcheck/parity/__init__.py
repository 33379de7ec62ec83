"""Parity: a key/value cache against the full pass, a saved state against the module, outputs against golden files."""

from pytest_modelcheck.parity.cache import CacheParity, cache_parity
from pytest_modelcheck.parity.protocol import CacheProtocol, NoCacheError, StepError

__all__ = [
    "CacheParity",
    "CacheProtocol",
    "NoCacheError",
    "StepError",
    "cache_parity",
]
