"""A model as a runtime is given it, a file or a graph in memory, and the error of one that it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.runtimes.ports import Signature

Model = str | Path | onnx.ModelProto | ir.Model
"""A file, or a model in memory."""


class SessionError(ModelCheckError):
    """A model that a runtime refuses to load, or whose run fails.

    Attributes:
        operators: Those that the runtime has not, where it names them.
        where: Their modules, where the runtime says them.
    """

    def __init__(self, message: str, operators: tuple[str, ...] = (), where: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.operators, self.where = operators, where


def reason(error: Exception | str) -> str:
    """What a runtime says, on one line."""
    text = " ".join(str(error).split())
    return text.removeprefix("[ONNXRuntimeError] : ") or type(error).__name__


@contextmanager
def loading(name: str, label: str) -> Iterator[None]:
    """Make whatever is raised while a model is loaded a `SessionError` with its reason.

    Args:
        name: What messages call the model.
        label: What they call the runtime.
    """
    try:
        yield
    except SessionError:
        raise
    except Exception as error:  # the errors of runtimes share no base class but Exception
        raise SessionError(f"{name}: {label} cannot load the model: {reason(error)}") from error


def graph_of(model: Model, name: str) -> ir.Model:
    """The graph, whatever it came as; weights that lie in a file are not read. To be called in `loading`.

    Raises:
        SessionError: if there is no such file.
        ValueError: for an empty file.
    """
    if isinstance(model, ir.Model):
        return model
    loaded = ir.from_proto(model) if isinstance(model, onnx.ModelProto) else ir.load(existing_file(model, name))
    if not loaded.graph.outputs and not len(loaded.graph):
        raise ValueError("it holds no graph")
    return loaded


def inlined(model: ir.Model) -> ir.Model:
    """A copy with the weights that lie in files: bytes in memory have no folder that file names are relative to."""
    copy = model.clone()
    for graph in (copy.graph, *copy.graph.subgraphs()):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = ir.tensor(value.const_value.numpy(), dtype=value.const_value.dtype, name=value.name)
    return copy


def check_types(signature: Signature, dtypes: frozenset[str], label: str) -> None:
    """Raises SessionError for an input or output of another element type than these; `label` is the runtime's."""
    for port in (*signature.inputs, *signature.outputs):
        if port.element not in dtypes:
            raise SessionError(f"{signature.name}: {label} takes and gives no {port.type} ({port.name!r})")


def model_name(model: Model, name: str | None) -> str:
    """`name`, else the file's name, else the graph's."""
    if isinstance(model, str | Path):
        return name or Path(model).name
    graph = model.graph.name
    return name or graph or "model"


def existing_file(model: str | Path, name: str) -> Path:
    """Raises SessionError if there is no such file."""
    path = Path(model)
    if not path.is_file():
        raise SessionError(f"{name}: no such file: {path}")
    return path
