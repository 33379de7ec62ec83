"""The module of a case: built once, lent where its weights must be free again, captured as a graph."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import torch

from pytest_modelcheck.calling import ModuleInputs, build_module, module_inputs
from pytest_modelcheck.capture import Captured, CaptureFailure, capture
from pytest_modelcheck.check.case_check import CaseCheck
from pytest_modelcheck.hierarchy import (
    ModuleCalls,
    modules_that_ran,
)
from pytest_modelcheck.model_case import EXAMPLE_SEED
from pytest_modelcheck.result import FindingError


class TorchSide(CaseCheck):
    """What torch says of the case."""

    @cached_property
    def module(self) -> torch.nn.Module:
        """The module, built once under the fixed seed, in eval mode."""
        with self._step("build"):
            return self._or_finding("build", lambda: build_module(self.case))

    @contextmanager
    def _lent_module(self) -> Iterator[torch.nn.Module]:
        """The module for a while; afterwards its weights are free, and who needs it again builds it again."""
        yield self.module
        for name in ("module", "captured"):
            self.__dict__.pop(name, None)

    @cached_property
    def _forward(self) -> inspect.Signature:
        return inspect.signature(self.module.forward)

    @cached_property
    def example(self) -> ModuleInputs:
        """The inputs of the export."""
        return self._or_finding("inputs", lambda: module_inputs(self.case, self.module, EXAMPLE_SEED))

    @cached_property
    def calls(self) -> ModuleCalls | None:
        """Which modules ran; None for a case that is an .onnx file."""
        if self.case.onnx_path is not None:
            return None
        with self._step("forward"):
            return self._or_finding("forward", lambda: modules_that_ran(self.case, self.module, self.example))

    @cached_property
    def captured(self) -> Captured:
        """The torch graph."""
        with self._step("capture"):
            result = capture(self.case, module=self.module, inputs=self.example)
        if isinstance(result, CaptureFailure):
            raise FindingError(
                self._error("capture", "a torch graph", f"{result.kind}: {result.reason}", (result.where,), result.next)
            )
        return result
