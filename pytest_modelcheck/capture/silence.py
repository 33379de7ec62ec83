"""Without the warnings, log lines and graph dumps of torch.export: what matters of them is in the exception."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing of torch's warnings, logs and prints reaches the terminal; everything is put back afterwards."""
    known = [logger for logger in logging.root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    loggers = [logger for logger in known if logger.name.split(".")[0] == "torch" and logger.handlers]
    saved = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    said = io.StringIO()
    try:
        for logger in loggers:
            logger.handlers[:], logger.propagate = [logging.NullHandler()], False
        with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, handlers, propagate in saved:
            logger.handlers[:], logger.propagate = handlers, propagate
