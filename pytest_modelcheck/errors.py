"""The errors this package raises: each names the thing that is wrong and the way out."""

from __future__ import annotations

DISK_FULL_SIGN = r"No space left on device|[Dd]isk quota exceeded|problem writing element|\d+ requested and \d+ written"
"""What an OSError says where a disk is full; the last two are numpy's words for a write that stopped, without errno."""

DISK_FULL_NEXT = "free space there, or keep exports on another disk: --modelcheck-cache=DIR, TMPDIR=DIR"
"""The way out of it."""


class ModelCheckError(Exception):
    """Base class of every error raised on purpose by this package."""


class BoundError(ModelCheckError, ValueError):
    """An expectation such as ``">=5%"`` that cannot be read."""


class ModelCaseError(ModelCheckError):
    """A model case that cannot be built or called: its `build`, its `inputs` or its output names are at fault."""


class InvalidModelError(ModelCheckError):
    """An ONNX file or model that does not parse, does not pass the checker, or lacks a part it refers to."""


class PassFailedError(ModelCheckError):
    """A pass raised, or left an invalid model behind."""


class OptionError(ModelCheckError, ValueError):
    """A command line or ini option whose value cannot be used."""
