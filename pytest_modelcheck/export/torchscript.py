"""The legacy exporter: `torch.jit.trace`, then a translation operator by operator."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir
import torch

from pytest_modelcheck.calling import ModuleInputs, flat_forward, weight_bytes
from pytest_modelcheck.graph.files import LARGE_MODEL_BYTES, save_model
from pytest_modelcheck.model_case import ModelCase

DEFAULT_OPSET = 17


def write(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs, outputs: Sequence[str], path: Path) -> None:
    """Export `module` to `path`; the exporter writes weights inside the file, large ones are moved beside it."""
    arguments = {"opset_version": case.opset or DEFAULT_OPSET, **case.export_options}
    if inputs.axes:
        arguments["dynamic_axes"] = {name: dict(axes) for name, axes in inputs.axes.items()}
    large = weight_bytes(module) > LARGE_MODEL_BYTES
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        raw = Path(scratch) / path.name if large else path  # above 2 GB torch writes one more file per weight
        with flat_forward(case, module, inputs) as flat, _log_to_stdout(), _equal_weights_apart(flat):
            torch.onnx.export(
                flat,
                inputs.values,
                str(raw),
                dynamo=False,
                input_names=list(inputs.names),
                output_names=list(outputs),
                **arguments,
            )
        if large:
            save_model(ir.load(raw), path)


@contextlib.contextmanager
def _log_to_stdout() -> Iterator[None]:
    """Print the exporter's graph dump through `sys.stdout`, where it can be caught.

    The exporter writes it to the process's own stdout, and its switch for that is always on (torch 2.13,
    `setup_onnx_logging` tests a function for truth instead of calling it).
    """
    name = "_jit_onnx_log"
    before = getattr(torch._C, name, None)
    if before is None:
        yield
        return
    setattr(torch._C, name, print)
    try:
        yield
    finally:
        setattr(torch._C, name, before)


@contextlib.contextmanager
def _equal_weights_apart(module: torch.nn.Module) -> Iterator[None]:
    """Keep different weights of `module` apart where their values are equal.

    The exporter writes equal tensors once, and an Identity for each further name: fresh LayerNorms would make nodes
    that trained ones do not. What the module itself shares stays shared, and so do equal tensors that the exporter
    computed: a layer that is called twelve times has one transposed weight.
    """
    name = "_jit_pass_onnx_deduplicate_initializers"
    merge = getattr(torch._C, name, None)
    if merge is None:
        yield
        return
    named = module.state_dict().keys()

    def merged(graph: torch.Graph, weights: Mapping[str, torch.Tensor], training: bool) -> dict[str, torch.Tensor]:
        own = (key for key, tensor in weights.items() if key in named or _is_filled(tensor))
        left = merge(graph, {**weights, **{key: _stand_in(key, weights[key]) for key in own}}, training)
        return {key: weights[key] for key in left}

    setattr(torch._C, name, merged)
    try:
        yield
    finally:
        setattr(torch._C, name, merge)


def _is_filled(tensor: torch.Tensor) -> bool:
    """Whether it looks like an initial weight: the zeros of a last layer, transposed, have no name of the module."""
    return tensor.ndim > 1 and tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all())


def _stand_in(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor that equals another stand-in only where both stand for the same elements in memory."""
    place = tensor.data_ptr() if tensor.numel() else hash(name)
    return torch.tensor([place, *tensor.shape, *tensor.stride()])
