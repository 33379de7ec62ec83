"""Results kept on disk beside the export that they were computed from, found again by content, never by name."""

from pytest_modelcheck.store.codec import NotKeepableError, decode, encode
from pytest_modelcheck.store.environment import numeric_environment, own_code
from pytest_modelcheck.store.results import KeptResults, file_digest

__all__ = ["KeptResults", "NotKeepableError", "decode", "encode", "file_digest", "numeric_environment", "own_code"]
