"""The inputs of a case as a symbolic trace takes them: one value per placeholder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch

from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.errors import ModelCaseError


def placeholder_values(
    graph: torch.fx.Graph, inputs: ModuleInputs, values: Sequence[torch.Tensor] | None = None
) -> tuple[Any, ...]:
    """The arguments of the traced forward, in the order of its placeholders; `values` as in `ModuleInputs`.

    Raises:
        ModelCaseError: for an input that the trace has no placeholder for.
    """
    named = inputs.forward_arguments(values)
    given: list[Any] = []
    for node in graph.nodes:
        if node.op != "placeholder":
            continue
        name = str(node.target)
        if name.startswith("*"):
            prefix = re.escape(name.lstrip("*"))
            given += [named.pop(key) for key in list(named) if re.fullmatch(rf"{prefix}_\d+", key)]
        elif name in named:
            given.append(named.pop(name))
        else:
            given.append(node.args[0] if node.args else None)  # its default
    if named:
        raise ModelCaseError(
            f"the symbolic trace has no parameter named {', '.join(named)}; capture with how='export', or name it in "
            f"the forward's signature"
        )
    return tuple(given)
