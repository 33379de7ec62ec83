"""What runs a graph: one interface, one file and one line in `RUNTIMES` for each.

Importing this room imports no runtime; the first session of one does.
"""

from __future__ import annotations

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.result import close_match
from pytest_modelcheck.runtimes import executorch, litert, onnxruntime, onnxruntime_web, openvino, reference
from pytest_modelcheck.runtimes.drawn_inputs import inputs_from_signature
from pytest_modelcheck.runtimes.interface import (
    AS_WRITTEN,
    AT_DEFAULT_LEVEL,
    How,
    NodeTime,
    Optimized,
    Quantizer,
    Runtime,
    RuntimeMissingError,
    Session,
)
from pytest_modelcheck.runtimes.models import Model, SessionError, graph_of, model_name
from pytest_modelcheck.runtimes.ports import FeedError, Port, Signature, signature_of
from pytest_modelcheck.runtimes.worker import running_time

RUNTIMES: tuple[Runtime, ...] = (
    onnxruntime.RUNTIME,
    openvino.RUNTIME,
    onnxruntime_web.RUNTIME,
    litert.RUNTIME,
    executorch.RUNTIME,
    reference.RUNTIME,
)


def runtime_named(name: str) -> Runtime:
    """The entry of `RUNTIMES`.

    Raises:
        OptionError: with the close match, if there is none.
    """
    for known in RUNTIMES:
        if known.name == name:
            return known
    names = [known.name for known in RUNTIMES]
    raise OptionError(f"unknown runtime {name!r}{close_match(name, names)}; known: {', '.join(names)}")


def installed_runtime(name: str) -> Runtime:
    """The same, if it is installed.

    Raises:
        RuntimeMissingError: naming the one command that installs it.
    """
    found = runtime_named(name)
    found.require()
    return found


def open_session(model: Model, how: How = AS_WRITTEN, *, name: str | None = None) -> Session:
    """Load a model into a runtime.

    Args:
        model: A file, or a model in memory, whose weights are shared with it where the runtime can.
        how: The runtime and its options.
        name: What errors and findings call the session; default: the file's name, or the graph's.

    Example:
        ``open_session("bert.onnx", How(threads=2)).run({"input_ids": ids})["logits"]``: (batch, labels) float32.

    Raises:
        RuntimeMissingError: if the runtime is not installed.
        SessionError: if the model cannot be read or run; the message carries the runtime's reason.
    """
    return installed_runtime(how.runtime).open(model, how, model_name(model, name))


def missing_provider(name: str, runtime: str = "onnxruntime") -> str:
    """Why nothing can run with this provider here; empty where it can.

    Raises:
        RuntimeMissingError: if the runtime is not installed.
    """
    available = installed_runtime(runtime).providers()
    if name in available:
        return ""
    return f"this {runtime} has no provider {name}; it has {', '.join(available)}"


__all__ = [
    "AS_WRITTEN",
    "AT_DEFAULT_LEVEL",
    "RUNTIMES",
    "FeedError",
    "How",
    "Model",
    "NodeTime",
    "Optimized",
    "Port",
    "Quantizer",
    "Runtime",
    "RuntimeMissingError",
    "Session",
    "SessionError",
    "Signature",
    "graph_of",
    "inputs_from_signature",
    "installed_runtime",
    "missing_provider",
    "open_session",
    "running_time",
    "runtime_named",
    "signature_of",
]
