"""onnxruntime sessions: made in one place, with every option that could change a number or a time set on purpose.

Weights are handed to onnxruntime as external data in a file, because it memory-maps them: 134 MB of weights cost 134 MB
that way and 385 MB as bytes (onnxruntime 1.31, measured by resident set size). A session then holds one copy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import onnxruntime as ort

from pytest_modelcheck.runtime.ports import (
    EXTENDED,
    Array,
    FeedError,
    Port,
    SessionError,
    as_array,
    close_match,
    misfit,
    name_problems,
    to_array,
    to_ort_value,
)

CPU = ("CPUExecutionProvider",)

INLINE_BYTES = 1024 * 1024
"""Models in memory with at most this many bytes of weights are handed over as bytes, larger ones through a file."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Session:
    """An onnxruntime session that checks what it is fed.

    Attributes:
        name: What findings call it, e.g. ``"exported"``.
        inputs: Inputs that must be fed, in the order of the graph.
        outputs: Outputs in the order of the graph.
        optimizer: Whether onnxruntime's own graph optimizer ran.
        threads: Size of the intra-op thread pool.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    optimizer: bool
    threads: int
    overridable: tuple[Port, ...] = ()
    _ort: Any

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        """One inference: output name -> array, in graph order. A sequence output gives ``name.0``, ``name.1``, ...

        Raises:
            FeedError: if `feeds` does not fit the inputs; the message names each misfit.
            SessionError: if onnxruntime fails, or an output has a type that has no array form.
        """
        return self._collect(self.bind(feeds)())

    def bind(self, feeds: Mapping[str, Any]) -> Callable[[], Sequence[Any]]:
        """Check `feeds` once and return a function that only runs: what is timed. Its result is onnxruntime's own.

        Raises:
            FeedError: as `run`.
        """
        arrays = self._checked(feeds)
        if self._needs_raw_bits():
            values = {name: to_ort_value(array) for name, array in arrays.items()}
            return partial(_run, self.name, self._ort.run_with_ort_values, None, values)
        return partial(_run, self.name, self._ort.run, None, arrays)

    def _needs_raw_bits(self) -> bool:
        return any(port.element in EXTENDED for port in (*self.inputs, *self.outputs))

    def _collect(self, values: Sequence[Any]) -> dict[str, Array]:
        collected: dict[str, Array] = {}
        for port, value in zip(self.outputs, values, strict=True):
            if isinstance(value, list):
                for index, item in enumerate(value):
                    collected[f"{port.name}.{index}"] = to_array(item, port, self.name)
            else:
                collected[port.name] = to_array(value, port, self.name)
        return collected

    def _checked(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        ports = {port.name: port for port in (*self.inputs, *self.overridable)}
        problems = name_problems([port.name for port in self.inputs], ports, feeds)
        arrays: dict[str, Array] = {}
        for name in (name for name in feeds if name in ports):
            array = as_array(feeds[name])
            arrays[name] = array
            if problem := misfit(ports[name], array):
                problems.append(problem)
        if problems:
            takes = ", ".join(str(port) for port in self.inputs) or "no inputs"
            raise FeedError(f"{self.name}: {'; '.join(problems)}. The model takes {takes}")
        return arrays


def open_session(
    model: str | Path | onnx.ModelProto | ir.Model,
    *,
    optimizer: bool,
    threads: int = 1,
    providers: Sequence[str] = CPU,
    name: str | None = None,
    disabled_optimizers: Iterable[str] = (),
) -> Session:
    """Make a session.

    Args:
        model: A file, or a model in memory; large weights of the latter go through a temporary file, so that no
            protobuf above 2 GiB and no second copy in memory is made.
        optimizer: False runs the graph as it is written (``ORT_DISABLE_ALL``), True at onnxruntime's default level.
        threads: Intra-op threads: fixed, because the order of additions depends on it.
        providers: Execution providers. onnxruntime falls back silently to the CPU; here that is an error.
        name: What errors and findings call the session; default: the file's name, or the graph's.
        disabled_optimizers: onnxruntime rewrites to leave out, by exact name (a wrong one is accepted silently there).

    Raises:
        SessionError: if the model cannot be read or run; the message carries onnxruntime's reason.
    """
    if isinstance(model, str | Path):
        return _open_file(Path(model), name or Path(model).name, optimizer, threads, providers, disabled_optimizers)
    as_ir = model if isinstance(model, ir.Model) else ir.from_proto(model)
    name = name or as_ir.graph.name or "model"
    try:
        if _weight_bytes(as_ir) <= INLINE_BYTES and not _has_external_weights(as_ir):
            content = ir.to_proto(as_ir).SerializeToString()
            return _open(content, name, optimizer, threads, providers, disabled_optimizers)
        # Mapped pages stay valid after the file is gone; Windows refuses to remove it while it is mapped.
        with tempfile.TemporaryDirectory(prefix="modelcheck-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "model.onnx"
            ir.save(as_ir, path, external_data="model.onnx.data")
            return _open(str(path), name, optimizer, threads, providers, disabled_optimizers)
    except (OSError, ValueError, TypeError) as error:  # writing the model, not running it
        raise SessionError(f"{name}: cannot be written for onnxruntime: {error}") from error


def _has_external_weights(model: ir.Model) -> bool:
    """Whether a weight lies in a file: as bytes, a model has no folder that its file names could be relative to."""
    graphs = (model.graph, *model.graph.subgraphs())
    return any(isinstance(value.const_value, ir.ExternalTensor) for g in graphs for value in g.initializers.values())


def _open_file(
    path: Path, name: str, optimizer: bool, threads: int, providers: Sequence[str], disabled: Iterable[str]
) -> Session:
    if not path.is_file():
        raise SessionError(f"{name}: no such file: {path}")
    return _open(str(path), name, optimizer, threads, providers, disabled)


def _open(
    source: str | bytes, name: str, optimizer: bool, threads: int, providers: Sequence[str], disabled: Iterable[str]
) -> Session:
    available = ort.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise SessionError(
                f"{name}: this onnxruntime has no execution provider {provider!r}{close_match(provider, available)}; "
                f"it has {', '.join(available)}"
            )
    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimizer else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors come back as exceptions; printing them too would tear up pytest's output
    # A spinning pool of one session would take the cores from the other one it is compared with.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        made = ort.InferenceSession(
            source, options, providers=list(providers), disabled_optimizers=list(disabled) or None
        )
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise SessionError(f"{name}: onnxruntime cannot load the model: {_reason(error)}") from error
    return Session(
        name=name,
        inputs=_ports(made.get_inputs()),
        outputs=_ports(made.get_outputs()),
        optimizer=optimizer,
        threads=threads,
        overridable=_ports(made.get_overridable_initializers()),
        _ort=made,
    )


def _weight_bytes(model: ir.Model) -> int:
    graphs = (model.graph, *model.graph.subgraphs())
    tensors = (value.const_value for graph in graphs for value in graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None and tensor.dtype != ir.DataType.STRING)


def _ports(arguments: Iterable[Any]) -> tuple[Port, ...]:
    return tuple(Port(argument.name, argument.type, tuple(argument.shape)) for argument in arguments)


def _run(name: str, run: Callable[..., Sequence[Any]], *args: Any) -> Sequence[Any]:
    try:
        return run(*args)
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise SessionError(f"{name}: onnxruntime failed to run the model: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.removeprefix("[ONNXRuntimeError] : ") or type(error).__name__
