"""A key/value cache, step by step, against one full pass."""

from pytest_modelcheck.torch_checks.cache.parity import CacheParity, cache_parity
from pytest_modelcheck.torch_checks.cache.protocol import CacheProtocol, NoCacheError, StepError

__all__ = ["CacheParity", "CacheProtocol", "NoCacheError", "StepError", "cache_parity"]
