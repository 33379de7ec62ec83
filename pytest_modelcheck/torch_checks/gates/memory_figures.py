"""The figures that ``expect_memory`` asks for, each from where it is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_modelcheck.errors import ModelCaseError

if TYPE_CHECKING:
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.check.torch_side import TorchSide
    from pytest_modelcheck.torch_checks.memory import Growth, MemoryUse

_SHOWN = 5


def uses_at(modelcheck: ModelCheck, axis: str, sizes: Sequence[int]) -> dict[int, MemoryUse]:
    """Size -> what one forward pass at this size allocates.

    Raises:
        ModelCaseError: for an axis that is not there, or a forward that cannot run at a size.
    """
    from pytest_modelcheck.calling import resized
    from pytest_modelcheck.torch_checks.memory import peak_memory

    uses = {}
    for size in sizes:
        example = _torch(modelcheck).example
        inputs = resized(example, axis, size, example.axes)
        try:
            uses[size] = peak_memory(_torch(modelcheck).module, inputs)
        except ModelCaseError as error:
            raise ModelCaseError(f"at {axis} {size}: {error}") from error
    return uses


def growth_of(uses: Mapping[int, MemoryUse]) -> Growth:
    """The growth of the totals: peaks have kinks where another operator becomes the largest."""
    from pytest_modelcheck.torch_checks.memory import fit_growth

    return fit_growth(tuple(uses), tuple(use.total for use in uses.values()))


def figure(modelcheck: ModelCheck, name: str) -> tuple[float, str]:
    """A figure, and how it is written."""
    value = _FIGURES[name](modelcheck)
    return value, f"{value:,} {'operations' if name == 'flops' else 'bytes'}"


def _forward(modelcheck: ModelCheck) -> MemoryUse:
    from pytest_modelcheck.torch_checks.memory import peak_memory

    return peak_memory(_torch(modelcheck).module, _torch(modelcheck).example)


def _flops(modelcheck: ModelCheck) -> int:
    from pytest_modelcheck.torch_checks.memory import count_flops

    return count_flops(_torch(modelcheck).module, _torch(modelcheck).example).total


def _initializers(modelcheck: ModelCheck) -> int:
    return sum(size for _, size in _weights(modelcheck))


def _weights(modelcheck: ModelCheck) -> list[tuple[str, int]]:
    """Name and bytes of each weight of the exported graph, the largest first; a Constant is one by another name."""
    from pytest_modelcheck.graph.constants import constant_tensor
    from pytest_modelcheck.graph.counts import all_nodes, is_constant

    model = modelcheck.graphs.exported_model
    graphs = (model.graph, *model.graph.subgraphs())
    stored = [(name, value.const_value) for graph in graphs for name, value in graph.initializers.items()]
    constants = [node.outputs[0] for node in all_nodes(model) if is_constant(node)]
    tensors = [*stored, *((value.name or "", constant_tensor(value)) for value in constants)]
    sizes = [(name, tensor.nbytes) for name, tensor in tensors if tensor is not None]
    return sorted(sizes, key=lambda item: -item[1])


def _file(modelcheck: ModelCheck) -> int:
    from pytest_modelcheck.graph.files import data_files

    path = modelcheck.exported.path
    return sum(file.stat().st_size for file in (path, *data_files(path)))


def _session(modelcheck: ModelCheck) -> int:
    from pytest_modelcheck.accuracy.stages import feeds_for
    from pytest_modelcheck.latency import peak_growth
    from pytest_modelcheck.model_case import EXAMPLE_SEED
    from pytest_modelcheck.runtimes import AT_DEFAULT_LEVEL, open_session

    path, drawn = modelcheck.exported.path, modelcheck.graphs.inputs(EXAMPLE_SEED)

    def once() -> None:
        session = open_session(path, AT_DEFAULT_LEVEL, name="exported")
        session.run(feeds_for(session, drawn))

    return peak_growth(once)


def _torch(modelcheck: ModelCheck) -> TorchSide:
    """The torch module.

    Raises:
        ModelCaseError: for an .onnx file without one, naming the figures that it has.
    """
    try:
        return modelcheck.torch
    except ModelCaseError as error:
        raise ModelCaseError(f"{error}; initializers, file and session can be asked of it") from error


_FIGURES: dict[str, Callable[[ModelCheck], int]] = {
    "peak": lambda modelcheck: _forward(modelcheck).peak,
    "total": lambda modelcheck: _forward(modelcheck).total,
    "flops": _flops,
    "initializers": _initializers,
    "file": _file,
    "session": _session,
}


def explain(modelcheck: ModelCheck, name: str) -> tuple[tuple[str, ...], str]:
    """Where a figure comes from, and what to do about it."""
    if name in ("initializers", "file"):
        largest = _weights(modelcheck)[:_SHOWN]
        return tuple(f"{weight}: {size:,} bytes" for weight, size in largest), "A weight may be stored twice, or wider."
    if name == "flops":
        from pytest_modelcheck.torch_checks.memory import count_flops

        by_op = count_flops(_torch(modelcheck).module, _torch(modelcheck).example).by_op[:_SHOWN]
        return tuple(f"{op}: {count:,}" for op, count in by_op), "If the change is meant, change the marker."
    if name == "session":
        return (), "The resident set of this process, opening and running the exported file once."
    return (), "If the change is meant, change the marker."
