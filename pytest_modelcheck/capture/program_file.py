"""The torch graph as a file, for runtimes that convert it instead of an ONNX graph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from pytest_modelcheck.capture.captured import Captured
from pytest_modelcheck.capture.silence import quiet


def save_program(captured: Captured, outputs: Sequence[str], path: Path) -> None:
    """Write what torch.export gave, with the names of inputs and outputs, in the order of the program, and operators.

    Args:
        captured: Captured by torch.export.
        outputs: Their names.
        path: ``*.pt2``.
    """
    assert captured.source is not None
    targets = {node.target for node in captured.source.graph.nodes}
    operators = {str(target) for target in targets if isinstance(target, torch._ops.OpOverload)}
    names = {"inputs": captured.inputs.names, "outputs": outputs, "operators": sorted(operators)}
    with quiet():
        torch.export.save(captured.source, path, extra_files={"names.json": json.dumps(names)})
