"""Stages: the ways one model can be run, each open only while it runs, so that few copies of the weights live."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import torch

from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.quantized import open_exactly, rounds_to_integers
from pytest_modelcheck.accuracy.randomness import random_calls, random_nodes
from pytest_modelcheck.accuracy.tolerance import Tolerances
from pytest_modelcheck.calling import ModuleInputs, run_module
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.runtimes import (
    AS_WRITTEN,
    FeedError,
    How,
    Model,
    Session,
    Signature,
    open_session,
    runtime_named,
)

Inputs = ModuleInputs | Mapping[str, Any]
"""One set of inputs: what `calling.module_inputs` gives, or tensors and arrays by name."""

Lent = Callable[[], AbstractContextManager[torch.nn.Module]]
"""Lends a module for the time of a `with` block."""

Run = Callable[[Inputs], Mapping[str, Array]]
"""Inputs -> outputs by name, in the order of the outputs."""

EXPORT = "export"
SHIPPED = "shipped file"
PASSES = "passes"
RUNTIME = "onnxruntime's optimizer"
CONVERSION = "a runtime's conversion"

RUNTIME_EVERY = 5
"""A model under onnxruntime's optimizer runs the first of every so many seeds, and every variant of the inputs: what
is rewritten does not depend on the inputs, and whether it shows depends on their kind more than on their seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One way to run the model.

    Attributes:
        name: Unique, e.g. ``"exported"``.
        open: Makes it runnable for the time of a `with` block.
        against: Name of the earlier stage that is its reference; None for the first reference of all.
        step: What was done to get here from there: `EXPORT`, `SHIPPED`, `PASSES`, `RUNTIME` or other words.
        nonfinite: Names the weights that hold a NaN or an infinity; asked only where an output does.
        draws: Inputs -> what draws random numbers; asked only where equal inputs give different outputs.
        every: Run the first of every so many seeds only. A stage that others are compared with runs all of theirs.
    """

    name: str
    open: Callable[[], AbstractContextManager[Run]]
    against: str | None = None
    step: str = ""
    nonfinite: Callable[[], tuple[str, ...]] | None = None
    draws: Callable[[Inputs], tuple[str, ...]] | None = None
    every: int = 1


def torch_stage(
    case: ModelCase,
    module: torch.nn.Module | Lent,
    *,
    name: str = "torch",
) -> Stage:
    """The eager module: the reference that everything else is held against.

    Args:
        case: Says how the module is called.
        module: The module; or a function that lends it for the time of a `with` block, so that its weights are free
            again while the later stages run.
        name: Name of the stage.
    """
    lent = (lambda: contextlib.nullcontext(module)) if isinstance(module, torch.nn.Module) else module

    @contextlib.contextmanager
    def opened() -> Iterator[Run]:
        with lent() as held:

            def run(inputs: Inputs) -> Mapping[str, Array]:
                outputs = run_module(case, held, _of_module(inputs))
                return {name: to_numpy(tensor) for name, tensor in outputs.items()}

            yield run

    def nonfinite() -> tuple[str, ...]:
        with lent() as held:
            return nonfinite_parameters(held)

    def draws(inputs: Inputs) -> tuple[str, ...]:
        with lent() as held:
            return random_calls(case, held, _of_module(inputs))

    return Stage(name=name, open=opened, nonfinite=nonfinite, draws=draws)


def _of_module(inputs: Inputs) -> ModuleInputs:
    return inputs if isinstance(inputs, ModuleInputs) else ModuleInputs(tuple(inputs), tuple(inputs.values()))


def session_stage(
    name: str,
    session: Session | Model,
    *,
    against: str | None = None,
    step: str = "",
    how: How = AS_WRITTEN,
    every: int = 1,
) -> Stage:
    """A model in a runtime.

    Args:
        name: Name of the stage.
        session: An open session, which stays open; or a model, whose session lives only while the stage runs.
        against, step, every: See `Stage`.
        how: The runtime and its options; not used for an open session.
    """

    @contextlib.contextmanager
    def opened() -> Iterator[Run]:
        if isinstance(session, Session):
            yield lambda inputs: session.run(feeds_for(session, inputs))
        else:
            integers = how.optimizer and how.runtime == "onnxruntime" and rounds_to_integers(_loaded(session))
            made = (open_exactly if integers else open_session)(session, how, name=name)
            yield lambda inputs: made.run(feeds_for(made, inputs))

    def graph() -> ir.Model | None:
        if isinstance(session, Session):
            return None
        return _loaded(session)

    def nonfinite() -> tuple[str, ...]:
        model = graph()
        return () if model is None else nonfinite_parameters(model)

    def draws(inputs: Inputs) -> tuple[str, ...]:
        model = graph()
        return () if model is None else random_nodes(model)

    return Stage(name=name, open=opened, against=against, step=step, nonfinite=nonfinite, draws=draws, every=every)


def standard_stages(
    case: ModelCase,
    module: torch.nn.Module | Lent | None,
    exported: Path | ir.Model,
    optimized: Path | ir.Model | None = None,
    *,
    how: How = AS_WRITTEN,
    runtime_every: int = RUNTIME_EVERY,
) -> tuple[Stage, ...]:
    """torch -> exported -> optimized, kept apart, and each ONNX model against itself under onnxruntime's optimizer.

    Args:
        case, module: The reference, see `torch_stage`; `module` is None for a case that is only an .onnx file.
        exported, optimized: The two ONNX models; without the second one only the export is judged.
        how: The runtime and its options; its own optimizer is on in the last stages alone.
        runtime_every: See `Stage.every`, for the stages under onnxruntime's optimizer.
    """
    stages = [] if module is None else [torch_stage(case, module)]
    step, against = EXPORT if case.onnx_path is None else SHIPPED, None if module is None else "torch"
    stages.append(session_stage("exported", exported, against=against, step=step, how=how))
    if optimized is not None:
        stages.append(session_stage("optimized", optimized, against="exported", step=PASSES, how=how))
    for name, model in (("exported", exported), ("optimized", optimized)):
        if model is not None:
            stages.append(
                session_stage(
                    f"{name} under onnxruntime's optimizer",
                    model,
                    against=name,
                    step=RUNTIME,
                    how=replace(how, optimizer=True),
                    every=runtime_every,
                )
            )
    return tuple(stages)


def _loaded(model: Model) -> ir.Model:
    if isinstance(model, str | Path):
        return ir.load(model)
    return model if isinstance(model, ir.Model) else ir.from_proto(model)


def to_numpy(tensor: torch.Tensor) -> Array:
    """A tensor as an array of the same dtype, bfloat16 and float8 included; on the CPU, without gradient."""
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    extended = _EXTENDED.get(tensor.dtype)
    if extended is None:
        return tensor.numpy()
    bits = torch.uint8 if extended.itemsize == 1 else torch.uint16
    return tensor.contiguous().view(bits).numpy().view(extended)


_EXTENDED: dict[torch.dtype, np.dtype[Any]] = {
    torch.bfloat16: np.dtype(ml_dtypes.bfloat16),
    torch.float8_e4m3fn: np.dtype(ml_dtypes.float8_e4m3fn),
    torch.float8_e4m3fnuz: np.dtype(ml_dtypes.float8_e4m3fnuz),
    torch.float8_e5m2: np.dtype(ml_dtypes.float8_e5m2),
    torch.float8_e5m2fnuz: np.dtype(ml_dtypes.float8_e5m2fnuz),
}


def feeds_for(model: Session | Signature, inputs: Inputs) -> dict[str, Array]:
    """The inputs as arrays for a model, matched by name. A tensor that the graph does not take is not fed.

    An input with a default in the graph is fed where there is a value for it.

    Raises:
        FeedError: if the model needs an input that is not there.
    """
    arrays = flat_arrays(inputs)
    needed = {port.name for port in model.inputs}
    if missing := needed - arrays.keys():
        unused = ", ".join(repr(name) for name in arrays if name not in needed) or "none"
        names = ", ".join(repr(name) for name in sorted(missing))
        raise FeedError(f"{model.name}: nothing to feed to {names}; inputs that it does not name: {unused}")
    taken = needed | {port.name for port in model.overridable}
    return {name: array for name, array in arrays.items() if name in taken}


def flat_arrays(inputs: Inputs) -> dict[str, Array]:
    """Every input as an array, by name. What is None is left out."""
    named = inputs.as_dict() if isinstance(inputs, ModuleInputs) else inputs
    given = {name: value for name, value in named.items() if value is not None}
    return {
        name: to_numpy(value) if isinstance(value, torch.Tensor) else np.asarray(value) for name, value in given.items()
    }


def at_sizes(how: How, inputs: Inputs) -> How:
    """`how` at the sizes of these inputs, where its runtime fixes them when it loads a model."""
    if not runtime_named(how.runtime).freezes:
        return how
    return replace(how, shapes=tuple((name, array.shape) for name, array in flat_arrays(inputs).items()))


def within(tolerances: Tolerances, inputs: Inputs) -> Tolerances:
    """The tolerances for one set of inputs: see `Tolerances.valid`."""
    return tolerances.at(flat_arrays(inputs)) if tolerances.valid else tolerances


def for_step(tolerances: Tolerances, step: str) -> Tolerances:
    """The tolerances for one pair: those of a quantized graph are for kernels that round integers differently.

    Both graphs of a pass are run as they are written, by the same kernels: four quantized models agreed bit for bit in
    240 runs, where onnxruntime's own optimizer moved outputs by up to 5.7 % (`benchmarks/quantized_rounding.py`).
    """
    return replace(tolerances, quantized=False) if step == PASSES else tolerances


def nonfinite_parameters(model: torch.nn.Module | ir.Model) -> tuple[str, ...]:
    """Names of the parameters and buffers (of an ONNX model: initializers) that hold a NaN or an infinity.

    Those with a NaN come first, because a mask of ``-inf`` is legal and a NaN weight never is.
    """
    nans, infinities = [], []
    for name, array in _weights(model):
        if np.isnan(array).any():
            nans.append(name)
        elif not np.isfinite(array).all():
            infinities.append(name)
    return (*nans, *infinities)


def _weights(model: torch.nn.Module | ir.Model) -> Iterator[tuple[str, Array]]:
    if isinstance(model, ir.Model):
        for graph in (model.graph, *model.graph.subgraphs()):
            for name, value in graph.initializers.items():
                if value.const_value is not None and value.const_value.dtype.is_floating_point():
                    yield name, value.const_value.numpy()
    else:
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if tensor.is_floating_point():
                yield name, to_numpy(tensor)
