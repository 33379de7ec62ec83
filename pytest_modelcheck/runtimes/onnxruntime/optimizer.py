"""onnxruntime's own graph optimizer: what it makes of a model, and which of its rewrites did it."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import onnxruntime as ort

from pytest_modelcheck.runtimes.interface import AT_DEFAULT_LEVEL, How, Optimized
from pytest_modelcheck.runtimes.onnxruntime.session import load, session_options
from pytest_modelcheck.runtimes.onnxruntime.weights import split_weights

_RAN = re.compile(r"GraphTransformer (\S+) modified: ([01])")
_LEVELS = {"basic": "ORT_ENABLE_BASIC", "extended": "ORT_ENABLE_EXTENDED", "all": "ORT_ENABLE_ALL"}


def optimize(model: Path | onnx.ModelProto, how: How, level: str, weights: bool) -> Optimized:
    """The graph as onnxruntime runs it, its own rewrites and Memcpy nodes included.

    Raises:
        SessionError: if this onnxruntime does not have the provider, or it cannot load the model.
    """
    options = session_options(how)
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[level])
    with tempfile.TemporaryDirectory(prefix="modelcheck-optimized-") as folder:
        written = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(written)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        source = str(model) if isinstance(model, Path) else model.SerializeToString()
        ran = _rewrites(source, options, how, "model")
        return Optimized(onnx.load(written, load_external_data=weights), ran)


def rewrites(model: ir.Model) -> tuple[str, ...]:
    """The rewrites that change `model`, in their order, by the exact names that the log gives."""
    split = split_weights(model)
    options = session_options(AT_DEFAULT_LEVEL)
    options.add_external_initializers(list(split.names), list(split.values))
    ran = _rewrites(split.content, options, AT_DEFAULT_LEVEL, model.graph.name or "model")
    return tuple(dict.fromkeys(name for name, changed in ran if changed))


def _rewrites(source: str | bytes, options: Any, how: How, name: str) -> tuple[tuple[str, bool], ...]:
    options.log_severity_level = 1  # INFO: the only place where it says which rewrite changed the graph
    with _stderr_caught() as log:
        load(source, options, how, name)
        log.seek(0)
        text = log.read().decode(errors="replace")
    return tuple((rewrite, changed == "1") for rewrite, changed in _RAN.findall(text))


@contextmanager
def _stderr_caught() -> Iterator[Any]:
    """File descriptor 2 of this process goes to a file: onnxruntime's C++ log does not know sys.stderr."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        try:
            os.dup2(file.fileno(), 2)
            yield file
        finally:
            os.dup2(saved, 2)
            os.close(saved)
