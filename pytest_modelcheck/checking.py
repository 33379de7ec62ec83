"""`check_export`: the gates as a plain function, for unittest, notebooks and the test mixins of a model library."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import Exporter, ModelCase
from pytest_modelcheck.result import Finding, Verdict
from pytest_modelcheck.targets import Target

if TYPE_CHECKING:
    import torch

    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.gates import GateResult


@dataclass(frozen=True, slots=True)
class CheckedExport:
    """What the gates said of one export.

    Attributes:
        modelcheck: What the fixture `modelcheck` hands out: ``.exported``, ``.optimized``, ``.attribution``, ...
        results: One per gate, in the order in which they were given.

    Example:
        ``check_export(net, torch.randn(2, 16), gates={"expect_ops": {"Gemm": 2}}).raise_if_failed()``
    """

    modelcheck: ModelCheck
    results: tuple[GateResult, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the gates found, the inconclusive too."""
        return tuple(dict.fromkeys(finding for result in self.results for finding in result.findings))

    @property
    def passed(self) -> bool:
        """Whether no gate failed. An inconclusive latency is neither."""
        return all(finding.verdict is Verdict.INCONCLUSIVE for finding in self.findings)

    def __str__(self) -> str:
        lines = [f"{result.gate}: {result.measured}" for result in self.results if not result.findings]
        return "\n\n".join([*lines, *(finding.render() for finding in self.findings)])

    def raise_if_failed(self) -> None:
        """Raises AssertionError with every finding, if a gate failed."""
        if not self.passed:
            raise AssertionError(str(self))


def check_export(
    model: torch.nn.Module | Callable[[], torch.nn.Module] | str | Path | ModelCase,
    inputs: Any = None,
    *,
    name: str | None = None,
    exporter: Exporter = "dynamo",
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
    target: Target = "portable",
    cache: Path | None = None,
    gates: Mapping[str, Mapping[str, Any]] | None = None,
    **case: Any,
) -> CheckedExport:
    """Export a model and run gates on it, outside a pytest run.

    Args:
        model: A module (it is copied, not touched), a function that builds one, an .onnx file, or a `ModelCase`.
        inputs: ``(seed) -> inputs`` as in `ModelCase`, or one set of inputs: a tensor, a tuple, or a dict by argument.
            Of a fixed set the values of every tensor are shuffled for each further seed: give a function where their
            order means something, such as a padding mask.
        name: In findings; default: the class of the module, or the file's stem.
        exporter, dynamic_axes, case: As in `ModelCase`.
        target: What the optimized graph may contain.
        cache: Directory of kept results; None keeps nothing.
        gates: Marker -> its keyword arguments; default: ``{"expect_accuracy": {}}``.

    Raises:
        ModelCaseError, MarkerError: for a case or a gate that cannot be read.

    Example:
        >>> checked = check_export(net, torch.randn(2, 16), gates={"expect_ops": {"Gemm": 2}, "expect_accuracy": {}})
        >>> checked.raise_if_failed()
    """
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.gates import MarkerError, registered_gates
    from pytest_modelcheck.gates.evaluate import declare, evaluate

    known = registered_gates()
    declared = []
    for marker, expected in ({"expect_accuracy": {}} if gates is None else gates).items():
        entry = declare(marker, (), dict(expected), known)
        if entry is None:
            raise MarkerError(f"gate {marker!r} is unknown; choose from {', '.join(known)}")
        declared.append(entry)
    settings = {"exporter": exporter, "dynamic_axes": dynamic_axes, **case}
    modelcheck = ModelCheck(_case(model, inputs, name, settings), target=target, cache=cache)
    return CheckedExport(modelcheck, evaluate(modelcheck, declared))


def _case(model: Any, inputs: Any, name: str | None, settings: dict[str, Any]) -> ModelCase:
    if isinstance(model, ModelCase):
        return model
    if isinstance(model, (str, Path)):
        return ModelCase.from_onnx(model, inputs, name=name)
    import torch

    if inputs is None:
        raise ModelCaseError("check_export: inputs are missing; give one set of inputs, or a function of a seed")
    draw = inputs if callable(inputs) and not isinstance(inputs, torch.Tensor) else _shuffled(inputs)
    if isinstance(model, torch.nn.Module):
        kept = copy.deepcopy(model)
        return ModelCase(name or type(model).__name__, lambda: copy.deepcopy(kept), draw, **settings)
    return ModelCase(name or str(getattr(model, "__name__", type(model).__name__)), model, draw, **settings)


def _shuffled(inputs: Any) -> Callable[[int], Any]:
    """``(seed) -> inputs``: those given for seed 0, with the values of each tensor in another order for the others."""
    import torch
    from torch.utils import _pytree as pytree

    def draw(seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)

        def reorder(value: Any) -> Any:
            if not isinstance(value, torch.Tensor) or not seed:
                return value
            order = torch.randperm(value.numel(), generator=generator)
            return value.flatten()[order].reshape(value.shape)

        given = inputs if isinstance(inputs, (tuple, Mapping)) else (inputs,)
        return pytree.tree_map(reorder, given)

    return draw
