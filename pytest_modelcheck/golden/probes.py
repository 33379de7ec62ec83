"""Changes that a golden comparison must see: one element of one weight, one element of one input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.errors import ModelCheckError

Array = np.ndarray[Any, np.dtype[Any]]
Outputs = Mapping[str, Array]

MOST_WEIGHTS = 8
"""Weights that are changed, evenly spaced over the state: each costs a forward."""

ROUNDING = 1e-6
"""A scaled effect up to this is no more than rounding: a bias of attention keys, for one, cancels in the softmax."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenProbe:
    """One change and what came of it.

    Attributes:
        kind: What was changed.
        name: Which weight or input.
        effect: Largest difference it made in any output, over max(1, largest magnitude of that output).
        seen: Whether the comparison failed.
    """

    kind: Literal["weight", "input"]
    name: str
    effect: float
    seen: bool

    @property
    def reached(self) -> bool:
        """Whether the change reached the outputs at all."""
        return self.seen or not self.effect <= ROUNDING


def probe_weights(
    module: torch.nn.Module, run: Callable[[], Outputs], right: Outputs, differs: Callable[[Outputs], bool]
) -> tuple[GoldenProbe, ...]:
    """Change the largest element of several weights by a tenth, one at a time; each gets its value back."""
    state = module.state_dict(keep_vars=True)
    weights = {name: t for name, t in state.items() if isinstance(t, torch.Tensor) and t.is_floating_point()}
    weights = {name: t for name, t in weights.items() if t.numel() and bool(t.detach().any())}
    names = list(weights)
    chosen = (
        [names[i] for i in sorted({round(i) for i in np.linspace(0, len(names) - 1, MOST_WEIGHTS)})] if names else []
    )
    probes = []
    for name in chosen:
        flat = weights[name].detach()
        place = np.unravel_index(int(flat.abs().argmax()), tuple(flat.shape))
        value = flat[place].clone()
        try:
            flat[place] = value * 1.1
            probes.append(_probe("weight", name, run, right, differs))
        finally:
            flat[place] = value
    return tuple(probes)


def probe_inputs(
    inputs: ModuleInputs, run: Callable[[ModuleInputs], Outputs], right: Outputs, differs: Callable[[Outputs], bool]
) -> tuple[GoldenProbe, ...]:
    """Change one element of each input, one at a time; `inputs` itself stays as it is."""
    probes = []
    for index, (name, tensor) in enumerate(zip(inputs.names, inputs.values, strict=True)):
        if not tensor.numel():
            continue
        values = (*inputs.values[:index], _changed(tensor), *inputs.values[index + 1 :])
        made = ModuleInputs(inputs.names, values, inputs.arguments)
        probes.append(_probe("input", name, lambda made=made: run(made), right, differs))  # type: ignore[misc]
    return tuple(probes)


def _changed(tensor: torch.Tensor) -> torch.Tensor:
    """One element moved: a float by a tenth; an integer to another value that occurs, or to its neighbour."""
    flat = tensor.detach().clone().reshape(-1)
    if tensor.dtype is torch.bool:
        flat[0] = ~flat[0]
    elif tensor.is_floating_point() or tensor.is_complex():
        at = int(flat.abs().argmax())
        flat[at] = flat[at] * 1.1 if flat[at] else 0.1
    else:
        others = flat[flat != flat[0]]
        flat[0] = others[0] if others.numel() else (flat[0] - 1 if flat[0] > 0 else flat[0] + 1)
    return flat.reshape(tensor.shape)


def _probe(
    kind: Literal["weight", "input"],
    name: str,
    run: Callable[[], Outputs],
    right: Outputs,
    differs: Callable[[Outputs], bool],
) -> GoldenProbe:
    try:
        outputs = run()
    except ModelCheckError:  # an input that the model refuses was seen, too
        return GoldenProbe(kind=kind, name=name, effect=np.inf, seen=True)
    return GoldenProbe(kind=kind, name=name, effect=_effect(right, outputs), seen=differs(outputs))


def _effect(right: Outputs, outputs: Outputs) -> float:
    effects = [0.0]
    for name, array in right.items():
        other = outputs.get(name)
        if other is None or other.shape != array.shape:
            return float("inf")
        if array.size:
            wide = array.astype(np.float64)
            with np.errstate(invalid="ignore"):
                effect = float(np.abs(other.astype(np.float64) - wide).max() / max(1.0, float(np.abs(wide).max())))
            effects.append(float("inf") if np.isnan(effect) else effect)
    return max(effects)
