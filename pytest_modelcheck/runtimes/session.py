"""onnxruntime sessions: made in one place, with every option that could change a number or a time set on purpose.

A session holds one copy of the weights: from a file with external data, which onnxruntime memory-maps, 134 MB of
weights cost 134 MB; as bytes they would cost 385 MB (onnxruntime 1.31, resident set size).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import onnxruntime as ort

from pytest_modelcheck.runtimes.ports import (
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
from pytest_modelcheck.runtimes.providers import CPU
from pytest_modelcheck.runtimes.weights import SplitModel, split_weights

_FOLDER = "session.model_external_initializers_file_folder_path"


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
    _weights: tuple[Any, ...] = ()  # memory that onnxruntime reads and does not own

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
            return partial(_run, self, self._ort.run_with_ort_values, None, values)
        return partial(_run, self, self._ort.run, None, arrays)

    def end_profiling(self) -> Path:
        """Stop profiling and give the file it went to, of a session that was opened with `profile`."""
        return Path(self._ort.end_profiling())

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
    providers: Sequence[str] = (CPU,),
    name: str | None = None,
    disabled_optimizers: Iterable[str] = (),
    profile: Path | None = None,
    spare_memory: bool = False,
    written: Path | None = None,
) -> Session:
    """Make a session.

    Args:
        model: A file, or a model in memory, whose weights are shared with it.
        optimizer: False runs the graph as it is written (``ORT_DISABLE_ALL``), True at onnxruntime's default level.
        threads: Intra-op threads: fixed, because the order of additions depends on it.
        providers: Execution providers. onnxruntime falls back silently to the CPU; here that is an error.
        name: What errors and findings call the session; default: the file's name, or the graph's.
        disabled_optimizers: onnxruntime rewrites to leave out, by exact name (a wrong one is accepted silently there).
        profile: Where onnxruntime's profile goes: the beginning of a file name. Profiling makes runs slower.
        spare_memory: Map the weights that lie in a file instead of copying them, and give every value back as soon as
            nothing reads it: for one run of a large model, not for many. The file must still be the one that the model
            was read from. With `optimizer` off, no weights are packed for the kernels either, which rounds otherwise:
            hold such a session against another one of its kind.
        written: A file for the graph as onnxruntime runs it, its own rewrites and Memcpy nodes included.

    Raises:
        SessionError: if the model cannot be read or run; the message carries onnxruntime's reason.
    """
    if isinstance(model, str | Path):
        path = Path(model)
        name = name or path.name
        if not path.is_file():
            raise SessionError(f"{name}: no such file: {path}")
        source: str | SplitModel = str(path)
    else:
        as_ir = model if isinstance(model, ir.Model) else ir.from_proto(model)
        name = name or as_ir.graph.name or "model"
        try:
            source = split_weights(as_ir, mapped=spare_memory)
        except (OSError, ValueError, TypeError) as error:
            raise SessionError(f"{name}: cannot be written for onnxruntime: {error}") from error
    _check_providers(name, providers)
    options = _options(optimizer, threads)
    if spare_memory:
        if not optimizer:  # packing belongs to how onnxruntime runs an optimized graph, and may be what is looked for
            options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile)
    if written is not None:
        options.optimized_model_filepath = str(written)
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights")
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
    weights: tuple[Any, ...] = ()
    if isinstance(source, SplitModel):
        weights = source.values
        options.add_external_initializers(list(source.names), list(source.values))
        if source.folder is not None:
            options.add_session_config_entry(_FOLDER, str(source.folder))
    try:
        made = ort.InferenceSession(
            source.content if isinstance(source, SplitModel) else source,
            options,
            providers=list(providers),
            disabled_optimizers=list(disabled_optimizers) or None,
        )
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise SessionError(f"{name}: onnxruntime cannot load the model: {_reason(error)}") from error
    if missing := [provider for provider in providers if provider not in made.get_providers()]:
        raise SessionError(f"{name}: the execution provider {missing[0]!r} did not start; the CPU would do its work")
    return Session(
        name=name,
        inputs=_ports(made.get_inputs()),
        outputs=_ports(made.get_outputs()),
        optimizer=optimizer,
        threads=threads,
        overridable=_ports(made.get_overridable_initializers()),
        _ort=made,
        _weights=weights,
    )


def _check_providers(name: str, providers: Sequence[str]) -> None:
    available = ort.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise SessionError(
                f"{name}: this onnxruntime has no execution provider {provider!r}{close_match(provider, available)}; "
                f"it has {', '.join(available)}"
            )


def _options(optimizer: bool, threads: int) -> Any:
    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimizer else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors come back as exceptions; printing them too would tear up pytest's output
    # A spinning pool of one session would take the cores from the other one it is compared with.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _ports(arguments: Iterable[Any]) -> tuple[Port, ...]:
    return tuple(Port(argument.name, argument.type, tuple(argument.shape)) for argument in arguments)


def _run(session: Session, run: Callable[..., Sequence[Any]], *args: Any) -> Sequence[Any]:
    try:
        return run(*args)
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        raise SessionError(f"{session.name}: onnxruntime failed to run the model: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text.removeprefix("[ONNXRuntimeError] : ") or type(error).__name__
