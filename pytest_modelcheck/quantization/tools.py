"""What quantizes: a runtime's own tool by its name, a function of the user's, or a file that is there already."""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.result import close_match
from pytest_modelcheck.runtimes import RUNTIMES, Quantizer

QUANTIZERS = {name: tool for runtime in RUNTIMES for name, tool in runtime.quantizers.items()}
"""The runtimes' own tools by name."""


def quantizer_named(name: str) -> Quantizer:
    """The tool of this name, ``module:function``, or the path of an .onnx file that is compared as it is.

    A function takes ``(float_file, file_to_write, feeds)``: two paths, and a list of {input name: array}.

    Raises:
        OptionError: if there is none, with the close match.
    """
    if name in QUANTIZERS:
        return QUANTIZERS[name]
    if name.endswith(".onnx"):
        if not Path(name).is_file():
            raise OptionError(f"there is no file {Path(name).absolute()}")
        return partial(_finished, Path(name).absolute())
    module, colon, function = name.partition(":")
    if not colon:
        raise OptionError(
            f"unknown quantizer {name!r}{close_match(name, QUANTIZERS)}; known: {', '.join(QUANTIZERS)}, "
            "module:function, or an .onnx file"
        )
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise OptionError(f"quantizer {name!r} cannot be imported: {error}") from error
    if not callable(found):
        raise OptionError(f"quantizer {name!r} is a {type(found).__name__}, not a function")
    return found  # type: ignore[no-any-return]  # the user's own


def _finished(file: Path, source: Path, target: Path, feeds: Any) -> None:
    """Read and written again: the place of weights beside a file is relative to the file."""
    ir.save(ir.load(file), target, external_data=f"{target.name}.data")
