"""`capture`: the torch graph of a model case."""

from __future__ import annotations

import copy
import dataclasses

import torch

from pytest_modelcheck.calling import (
    ModuleInputs,
    build_module,
    eval_mode,
    flat_forward,
    module_inputs,
    run_module,
    seeded,
    unchanged_buffers,
)
from pytest_modelcheck.capture.captured import Captured, CaptureFailure, CaptureFailureKind, How
from pytest_modelcheck.capture.equivalence import compare_outputs
from pytest_modelcheck.capture.example_values import record_values
from pytest_modelcheck.capture.failures import explain
from pytest_modelcheck.capture.silence import quiet
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
        step = "fix build() or inputs() of the case: it already fails in eager mode"
        return CaptureFailure(case_name=case.name, kind=kind, reason=str(error), next=step)
    try:
        with quiet(), eval_mode(module), torch.no_grad():
            if how == "symbolic_trace":
                captured = _by_symbolic_trace(case, module, inputs)
            else:
                captured = _by_export(case, module, inputs)
            return _compared(case, module, captured)
    except Exception as error:  # whatever the tracer or the user's forward raises becomes a typed failure
        return explain(case, module, inputs, error, _forward_error(case, module, inputs))


def _by_export(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs) -> Captured:
    with flat_forward(case, module, inputs):
        source = torch.export.export(module, inputs.values, strict=False)
    program = source.run_decompositions({})
    return Captured(
        name=case.name, how="export", graph_module=program.graph_module, program=program, inputs=inputs, source=source
    )


def _by_symbolic_trace(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs) -> Captured:
    with unchanged_buffers(module):
        graph_module = torch.fx.symbolic_trace(module)
    record_values(graph_module, inputs)
    return Captured(name=case.name, how="symbolic_trace", graph_module=graph_module, program=None, inputs=inputs)


def _compared(case: ModelCase, module: torch.nn.Module, captured: Captured) -> Captured | CaptureFailure:
    """`captured`, if it computes what the module computes for the example inputs.

    It may not: symbolic_trace loses what a forward does beside its placeholders (a write into a buffer, a hook of the
    root module), and torch.export does not see that a half-precision Linear refuses float32 inputs.
    """
    if captured.how == "symbolic_trace":
        case = dataclasses.replace(case, output_names=None)  # the trace gives all of them
    with seeded(EXAMPLE_SEED):
        expected = run_module(case, module, copy.deepcopy(captured.inputs))
    with seeded(EXAMPLE_SEED):
        compared = compare_outputs(tuple(expected.values()), captured.run())
    if compared.difference is None or compared.agrees:
        return captured
    remedy = "capture with how='export'" if captured.how == "symbolic_trace" else "take hooks off the root module"
    return CaptureFailure(
        case_name=case.name,
        kind=CaptureFailureKind.OTHER_RESULT,
        reason=f"the captured graph computes something else than the module (difference {compared.difference:.1e})",
        next=f"{remedy}: neither writes into buffers nor hooks of the root module are in a symbolic trace, and "
        f"torch.export shows such a hook the outputs as one flat tuple",
    )


def _forward_error(case: ModelCase, module: torch.nn.Module, inputs: ModuleInputs) -> ModelCaseError | None:
    """What the plain forward raises: a module that does not run cannot be captured, and that is the reason then."""
    try:
        with eval_mode(module):
            run_module(case, module, copy.deepcopy(inputs))
    except ModelCaseError as error:
        return error
    return None
