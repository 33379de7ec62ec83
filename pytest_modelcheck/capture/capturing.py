"""`capture`: the torch graph of a model case."""

from __future__ import annotations

import torch

from pytest_modelcheck.calling import (
    ModuleInputs,
    build_module,
    eval_mode,
    flat_forward,
    module_inputs,
    run_module,
)
from pytest_modelcheck.capture.captured import Captured, CaptureFailure, CaptureFailureKind, How
from pytest_modelcheck.capture.failures import explain
from pytest_modelcheck.capture.quiet import quiet
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.model_case import EXAMPLE_SEED, ModelCase


def capture(
    case: ModelCase,
    *,
    module: torch.nn.Module | None = None,
    inputs: ModuleInputs | None = None,
    how: How = "export",
) -> Captured | CaptureFailure:
    """The torch graph of `case`, in eval mode.

    By torch.export it is at ATen level (`run_decompositions({})`), where `linear` and attention stay whole.
    The module is left as it was found; the graph shares its weights.

    Args:
        case: The case; one that is only an .onnx file gives a failure of kind ``not_a_module``.
        module, inputs: Where they are at hand; else built from the case.
        how: ``"export"`` (torch.export, non-strict) or ``"symbolic_trace"`` (torch.fx, module level).
    """
    if case.build is None and module is None:
        return CaptureFailure(
            case_name=case.name,
            kind=CaptureFailureKind.NOT_A_MODULE,
            reason="the case is an .onnx file and has no torch module",
            next="declare the case with build= and inputs= to capture its torch graph",
        )
    kind = CaptureFailureKind.BUILD_FAILED
    try:
        module = build_module(case) if module is None else module
        kind = CaptureFailureKind.INPUTS_FAILED
        inputs = module_inputs(case, module, EXAMPLE_SEED) if inputs is None else inputs
    except ModelCaseError as error:
        return CaptureFailure(case_name=case.name, kind=kind, reason=str(error))
    try:
        with quiet(), eval_mode(module), torch.no_grad():
            if how == "symbolic_trace":
                graph_module = torch.fx.symbolic_trace(module)
                return Captured(name=case.name, how=how, graph_module=graph_module, program=None, inputs=inputs)
            with flat_forward(case, module, inputs):
                source = torch.export.export(module, inputs.values, strict=False)
            program = source.run_decompositions({})
    except Exception as error:  # whatever the tracer or the user's forward raises becomes a typed failure
        return explain(case, module, error, _forward_error(case, module, inputs))
    return Captured(
        name=case.name, how=how, graph_module=program.graph_module, program=program, inputs=inputs, source=source
    )


def _forward_error(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs) -> ModelCaseError | None:
    """What the plain forward raises: a module that does not run cannot be captured, and that is the reason then."""
    try:
        with eval_mode(module):
            run_module(case, module, inputs)
    except ModelCaseError as error:
        return error
    return None
