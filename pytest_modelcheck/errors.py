"""The errors this package raises: each names the thing that is wrong and the way out."""

from __future__ import annotations


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
