"""The torch graph as a file, for runtimes that convert it instead of an ONNX graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from pytest_modelcheck.calling import ModuleInputs, eval_mode, flat_forward
from pytest_modelcheck.calling.dynamic_shapes import Shapes, dynamic_shapes, without_dims
from pytest_modelcheck.capture.silence import quiet
from pytest_modelcheck.model_case import ModelCase


def dynamic_program(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs) -> torch.export.ExportedProgram:
    """What torch.export gives with the sizes that the case calls dynamic.

    Raises:
        Exception: whatever torch raises where it does not take them.
    """

    def run(shapes: Shapes) -> torch.export.ExportedProgram:
        hint = torch.export.Dim.DYNAMIC
        taken = tuple(
            each and {axis: hint if isinstance(dim, str) else dim for axis, dim in each.items()} for each in shapes
        )
        with quiet(), eval_mode(module), torch.no_grad(), flat_forward(case, module, inputs) as flat:
            return torch.export.export(flat, inputs.values, dynamic_shapes=taken, strict=False)

    try:
        return run(dynamic_shapes(inputs))
    except Exception as error:  # torch's class for a refused Dim is private
        if (plain := without_dims(inputs, error)) is None:
            raise
        return run(plain)


def save_program(
    program: torch.export.ExportedProgram, inputs: Sequence[str], outputs: Sequence[str], path: Path, fixed: str = ""
) -> None:
    """Write what torch.export gave, with the names of inputs and outputs, in the order of the program, and operators.

    Args:
        program: What it gave.
        inputs, outputs: Their names.
        path: ``*.pt2``.
        fixed: Why sizes are fixed that the case calls dynamic.
    """
    targets = {node.target for node in program.graph.nodes}
    operators = {str(target) for target in targets if isinstance(target, torch._ops.OpOverload)}
    names = {"inputs": inputs, "outputs": outputs, "operators": sorted(operators), "fixed": fixed}
    with quiet():
        torch.export.save(program, path, extra_files={"names.json": json.dumps(names)})
