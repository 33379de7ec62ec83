"""Keeping an exporter's prints, logs and warnings: off the terminal, but not lost."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

_LIBRARIES = ("torch", "onnxscript", "onnx_ir", "onnx", "transformers")
_LIMIT = 20_000
_LONGEST = 400
_NOISE = re.compile(
    r"torchvision is not installed|LeafSpec|deprecated|legacy TorchScript-based|will be removed|"
    r"shares the same shape constraints",
    re.IGNORECASE,
)
"""Said in every run with these versions, and not about the user's model."""


class Heard:
    """What was said during `listening`.

    Attributes:
        warnings: Messages of Python warnings and of log records from WARNING up, each once, noise left out.
        printed: Everything written to stdout and stderr.
    """

    def __init__(self) -> None:
        self.warnings: dict[str, None] = {}
        self._stream = io.StringIO()

    @property
    def printed(self) -> str:
        return self._stream.getvalue()[-_LIMIT:]

    def add(self, message: str) -> None:
        """Note one message, unless it is noise."""
        text = " ".join(message.split())
        if text and not _NOISE.search(text):
            self.warnings.setdefault(
                text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
            )


class _Handler(logging.Handler):
    def __init__(self, heard: Heard) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.add(record.getMessage())


@contextlib.contextmanager
def listening() -> Iterator[Heard]:
    """Catch what the exporting libraries print, log and warn about; everything is put back afterwards."""
    heard = Heard()
    handler = _Handler(heard)
    loggers = [
        logger
        for name, logger in list(logging.root.manager.loggerDict.items())
        if isinstance(logger, logging.Logger) and name.split(".")[0] in _LIBRARIES and logger.handlers
    ]
    tops = [logging.getLogger(name) for name in _LIBRARIES]
    saved = [(logger, logger.handlers[:], logger.propagate) for logger in dict.fromkeys([*loggers, *tops])]
    for logger, _, _ in saved:
        logger.handlers[:] = [handler] if logger in tops else []
        logger.propagate = logger not in tops
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            contextlib.redirect_stdout(heard._stream),
            contextlib.redirect_stderr(heard._stream),
        ):
            warnings.simplefilter("always")
            try:
                yield heard
            finally:
                for warning in caught:
                    heard.add(f"{warning.message} ({Path(warning.filename).name}:{warning.lineno})")
    finally:
        for logger, handlers, propagate in saved:
            logger.handlers[:] = handlers
            logger.propagate = propagate
