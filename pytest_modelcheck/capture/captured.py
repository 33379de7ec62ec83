"""What a capture gives: the torch graph of a module, or the typed reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import torch

from pytest_modelcheck.calling import ModuleInputs

How = Literal["export", "symbolic_trace"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Captured:
    """The torch graph of one model case.

    Attributes:
        name: Name of the model case.
        how: ``"export"`` (torch.export) or ``"symbolic_trace"`` (torch.fx).
        graph_module: The graph, over the module's own weights; with example values in ``node.meta["val"]`` where `how`
            is ``"export"``.
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
        """The outputs for `values` (default: the example inputs), without gradients."""
        module = self.graph_module if self.program is None else self.program.module()
        with torch.no_grad():
            outputs = module(*(self.inputs.values if values is None else values))
        return tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)


class CaptureFailureKind(StrEnum):
    """Why there is no captured graph."""

    BUILD_FAILED = "build_failed"
    INPUTS_FAILED = "inputs_failed"
    FORWARD_FAILED = "forward_failed"
    SIGNATURE_MISMATCH = "signature_mismatch"
    DATA_DEPENDENT_CONTROL_FLOW = "data_dependent_control_flow"
    SHAPE_DEPENDENT_CONTROL_FLOW = "shape_dependent_control_flow"
    DYNAMIC_TENSOR_CONSTRUCTION = "dynamic_tensor_construction"
    UNSUPPORTED_CALL = "unsupported_call"
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
    """

    case_name: str
    kind: CaptureFailureKind
    reason: str
    where: str = ""
    next: str = ""

    def render(self) -> str:
        """The failure as text: one headline, then the labelled blocks `where:` and `next:`."""
        lines = [f"capture of {self.case_name} failed ({self.kind}): {self.reason}"]
        lines += [f"  {label:<7}{text}" for label, text in (("where:", self.where), ("next:", self.next)) if text]
        return "\n".join(lines)
