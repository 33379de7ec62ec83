"""What draws random numbers: operators that a forward calls, nodes of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import onnx_ir as ir
import torch

from pytest_modelcheck.accuracy.places import node_place
from pytest_modelcheck.calling import ModuleInputs, WatchingMode, run_module
from pytest_modelcheck.graph.counts import all_nodes
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.result import first_lines

SHOWN = 5

_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}


def random_calls(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs) -> tuple[str, ...]:
    """The random operators of one forward, with who calls them: ``bernoulli_ in layer.0.drop (Dropout)``."""
    inside: list[str] = []
    found: dict[str, None] = {}
    kinds = {name: type(submodule).__name__ for name, submodule in module.named_modules()}

    class Watching(WatchingMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            if torch.Tag.nondeterministic_seeded in getattr(func, "tags", ()):
                name = inside[-1] if inside else ""
                found[f"{func._schema.name.partition('::')[2]} in {name or 'the root module'} ({kinds[name]})"] = None
            return func(*args, **(kwargs or {}))

    def enter(name: str, *_: Any) -> None:
        inside.append(name)

    def leave(*_: Any) -> None:
        inside.pop()

    with ExitStack() as stack:
        for name, submodule in module.named_modules():
            stack.callback(submodule.register_forward_pre_hook(partial(enter, name)).remove)
            stack.callback(submodule.register_forward_hook(leave).remove)
        run_module(case, module, inputs, watching=Watching())  # type: ignore[no-untyped-call]
    return first_lines(tuple(found), SHOWN)


def random_nodes(model: ir.Model) -> tuple[str, ...]:
    """The nodes that draw random numbers, each as `node_place` writes it."""
    nodes = [node for node in all_nodes(model) if not node.domain and _draws(node)]
    return first_lines([node_place(node) for node in nodes], SHOWN)


def _draws(node: ir.Node) -> bool:
    training = len(node.inputs) > 2 and node.inputs[2] is not None
    return node.op_type in _RANDOM or (node.op_type == "Dropout" and training)
