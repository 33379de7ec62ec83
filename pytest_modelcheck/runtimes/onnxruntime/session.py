"""onnxruntime sessions: made in one place, with every option that could change a number or a time set on purpose.

A session holds one copy of the weights: from a file with external data, which onnxruntime memory-maps, 134 MB of
weights cost 134 MB; as bytes they would cost 385 MB (onnxruntime 1.31, resident set size).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnxruntime as ort

from pytest_modelcheck.result import close_match
from pytest_modelcheck.runtimes.interface import How, Session
from pytest_modelcheck.runtimes.models import Model, SessionError, existing_file, reason
from pytest_modelcheck.runtimes.onnxruntime.values import to_array, to_ort_value
from pytest_modelcheck.runtimes.onnxruntime.weights import SplitModel, split_weights
from pytest_modelcheck.runtimes.ports import EXTENDED, Array, Port, Signature

_FOLDER = "session.model_external_initializers_file_folder_path"
_CPU = "CPUExecutionProvider"
_HIGHEST_OPSET = re.compile(r"support for domain ai\.onnx is till opset (\d+)")
_UNKNOWN = re.compile(r"(?:implementation for |Fatal error: )(\S+)\(-?\d+\)")


def open_session(model: Model, how: How, name: str) -> Session:
    """Load a model.

    Raises:
        SessionError: if the model cannot be read or run; the message carries onnxruntime's reason.
    """
    options = session_options(how)
    _register(options, how.custom_ops, name)
    source = _source(model, how, name)
    weights: tuple[Any, ...] = ()
    if isinstance(source, SplitModel):
        weights = source.values
        options.add_external_initializers(list(source.names), list(source.values))
        if source.folder is not None:
            options.add_session_config_entry(_FOLDER, str(source.folder))
    opened = load(source.content if isinstance(source, SplitModel) else source, options, how, name)
    signature = Signature(
        name,
        _ports(opened.get_inputs()),
        _ports(opened.get_outputs()),
        _ports(opened.get_overridable_initializers()),
    )
    raw_bits = any(port.element in EXTENDED for port in (*signature.inputs, *signature.outputs))
    return Session(
        signature=signature,
        how=how,
        start=partial(_start_with_raw_bits if raw_bits else _start, opened),
        as_array=to_array,
        label="onnxruntime",
        held=weights,
    )


def session_options(how: How) -> Any:
    """The options of a session; what a caller wants beyond them is set on the result."""
    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if how.optimizer else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = how.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors come back as exceptions; printing them too would tear up pytest's output
    # A spinning pool of one session would take the cores from the other one it is compared with.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for key, value in how.config:
        options.add_session_config_entry(key, value)
    if how.spare_memory:
        if not how.optimizer:  # packing belongs to how onnxruntime runs an optimized graph, and may be what is searched
            options.add_session_config_entry("session.disable_prepacking", "1")
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    return options


def _register(options: Any, libraries: Iterable[str], name: str) -> None:
    for library in libraries:
        try:
            options.register_custom_ops_library(library)
        except Exception as error:  # onnxruntime's exceptions share no base class but Exception
            raise SessionError(
                f"{name}: onnxruntime cannot register the custom operators of {library}: {reason(error)}"
            ) from error


def load(source: str | bytes, options: Any, how: How, name: str) -> Any:
    """onnxruntime's own session. It falls back silently to the CPU where a provider is missing; here that is an error.

    Raises:
        SessionError: if the provider is missing or does not start, or the model cannot be loaded.
    """
    wanted, available = execution_providers(how.provider), ort.get_available_providers()
    if missing := [provider for provider in wanted if provider not in available]:
        raise SessionError(
            f"{name}: this onnxruntime has no execution provider {missing[0]!r}"
            f"{close_match(missing[0], available)}; it has {', '.join(available)}"
        )
    left_out = list(how.left_out) or None
    try:
        opened = ort.InferenceSession(source, options, providers=list(wanted), disabled_optimizers=left_out)
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        text = reason(error)
        if highest := _HIGHEST_OPSET.search(text):
            text = (
                f"onnxruntime {ort.__version__} reads opsets up to {highest[1]}, this one is higher; install a newer "
                "onnxruntime, or take a lower opset (target portable keeps that of the exported model, opset23 and "
                "onnxruntime may raise it to 23)"
            )
        raise SessionError(
            f"{name}: onnxruntime cannot load the model: {text}", tuple(_UNKNOWN.findall(text))
        ) from error
    if missing := [provider for provider in wanted if provider not in opened.get_providers()]:
        raise SessionError(f"{name}: the execution provider {missing[0]!r} did not start; the CPU would do its work")
    return opened


def execution_providers(name: str) -> tuple[str, ...]:
    """``"CUDA"`` -> what a session is opened with: that provider first, the CPU for what it has no kernel for."""
    first = f"{name}ExecutionProvider"
    return (_CPU,) if first == _CPU else (first, _CPU)


def providers() -> tuple[str, ...]:
    """Short names of the execution providers of this onnxruntime."""
    return tuple(provider.removesuffix("ExecutionProvider") for provider in ort.get_available_providers())


def _source(model: Model, how: How, name: str) -> str | SplitModel:
    if isinstance(model, str | Path):
        return str(existing_file(model, name))
    try:
        return split_weights(model if isinstance(model, ir.Model) else ir.from_proto(model), mapped=how.spare_memory)
    except (OSError, ValueError, TypeError) as error:
        raise SessionError(f"{name}: cannot be written for onnxruntime: {error}") from error


def _ports(arguments: Iterable[Any]) -> tuple[Port, ...]:
    return tuple(Port(argument.name, argument.type, tuple(argument.shape)) for argument in arguments)


def _start(opened: Any, arrays: Mapping[str, Array]) -> Callable[[], Sequence[Any]]:
    return partial(opened.run, None, dict(arrays))


def _start_with_raw_bits(opened: Any, arrays: Mapping[str, Array]) -> Callable[[], Sequence[Any]]:
    return partial(opened.run_with_ort_values, None, {name: to_ort_value(array) for name, array in arrays.items()})
