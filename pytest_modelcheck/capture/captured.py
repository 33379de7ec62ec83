"""What a capture gives: the torch graph of a module, or the typed reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import torch
from torch.export.graph_signature import InputKind, OutputKind
from torch.utils._pytree import tree_leaves

from pytest_modelcheck.calling import ModuleInputs, unchanged_buffers
from pytest_modelcheck.capture.arguments import placeholder_values

How = Literal["export", "symbolic_trace"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Captured:
    """The torch graph of one model case.

    Attributes:
        name: Name of the model case.
        how: ``"export"`` (torch.export) or ``"symbolic_trace"`` (torch.fx).
        graph_module: The graph, over the module's own weights; with example values in ``node.meta["val"]``
            as far as they can be known without computing.
        program: The exported program at ATen level; None for a symbolic trace.
        source: The program as torch.export gave it, before any decomposition; None for a symbolic trace.
        inputs: The example inputs it was captured with.
        decomposed: Whether attention is written out in elementary operations.
    """

    name: str
    how: How
    graph_module: torch.fx.GraphModule
    program: torch.export.ExportedProgram | None
    inputs: ModuleInputs
    source: torch.export.ExportedProgram | None = None
    decomposed: bool = False

    @property
    def graph(self) -> torch.fx.Graph:
        """The graph."""
        return self.graph_module.graph

    def run(self, values: Sequence[torch.Tensor] | None = None) -> tuple[torch.Tensor, ...]:
        """The outputs for `values` (default: the example inputs), without gradients; a graph may write into copies."""
        given = [value.clone() for value in (self.inputs.values if values is None else values)]
        with torch.no_grad(), unchanged_buffers(self.graph_module):
            if self.program is None:
                outputs = self.graph_module(*placeholder_values(self.graph, self.inputs, given))
            else:
                outputs = _outputs(self.program, given)
        return tuple(leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor))


def _outputs(program: torch.export.ExportedProgram, given: Sequence[torch.Tensor]) -> list[Any]:
    """What a program at ATen level computes: its graph takes weights as arguments, and returns what it would write.

    `program.module()` would write a graph of its own first, which takes as long as the run.
    """
    signature, values = program.graph_signature, iter(given)
    weights = {**program.state_dict, **program.constants}
    arguments = [
        next(values) if spec.kind is InputKind.USER_INPUT else weights[str(spec.target)]
        for spec in signature.input_specs
    ]
    made = program.graph_module(*arguments)
    return [
        value for value, spec in zip(made, signature.output_specs, strict=True) if spec.kind is OutputKind.USER_OUTPUT
    ]


class CaptureFailureKind(StrEnum):
    """Why there is no captured graph."""

    BUILD_FAILED = "build_failed"
    INPUTS_FAILED = "inputs_failed"
    FORWARD_FAILED = "forward_failed"
    OUTPUTS_FAILED = "outputs_failed"
    SIGNATURE_MISMATCH = "signature_mismatch"
    DATA_DEPENDENT_CONTROL_FLOW = "data_dependent_control_flow"
    SHAPE_DEPENDENT_CONTROL_FLOW = "shape_dependent_control_flow"
    DYNAMIC_TENSOR_CONSTRUCTION = "dynamic_tensor_construction"
    IN_PLACE_WRITE = "in_place_write"
    UNSUPPORTED_CALL = "unsupported_call"
    OTHER_RESULT = "other_result"
    DEVICE_MISMATCH = "device_mismatch"
    DTYPE_MISMATCH = "dtype_mismatch"
    NOT_A_MODULE = "not_a_module"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureFailure:
    """Why a case has no captured graph.

    Attributes:
        case_name: Name of the model case.
        kind: See `CaptureFailureKind`.
        reason: The cause in one sentence.
        where: The user's source line, ``"my_model.py:12: if x.sum() > 0:"``, where it is known; else empty.
        next: What the reader can do about it.
        detail: The tracer's own words, in full. For a log, not for a summary.
    """

    case_name: str
    kind: CaptureFailureKind
    reason: str
    where: str = ""
    next: str = ""
    detail: str = ""

    def render(self) -> str:
        """The failure as text: one headline, then the labelled blocks `where:` and `next:`."""
        lines = [f"capture of {self.case_name} failed ({self.kind}): {self.reason}"]
        lines += [f"  {label:<7}{text}" for label, text in (("where:", self.where), ("next:", self.next)) if text]
        return "\n".join(lines)
