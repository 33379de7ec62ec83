"""The module of a case: built once, lent where its weights must be free again, captured as a graph."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from pytest_modelcheck.calling import ModuleInputs, build_module, module_inputs, run_module
from pytest_modelcheck.calling.sizes import Sizes
from pytest_modelcheck.capture import Captured, CaptureFailure, capture, dynamic_program, save_program
from pytest_modelcheck.check.results import Results
from pytest_modelcheck.check.settings import Settings
from pytest_modelcheck.hierarchy import ModuleCalls
from pytest_modelcheck.hierarchy.recorded_calls import modules_that_ran
from pytest_modelcheck.model_case import EXAMPLE_SEED, ModelCase


@dataclass(frozen=True, slots=True)
class TorchSide:
    """What torch says of a case that has a module."""

    case: ModelCase
    settings: Settings
    results: Results

    @property
    def module(self) -> torch.nn.Module:
        """The module, built once under the fixed seed, in eval mode.

        Raises:
            FindingError: if it cannot be built.
        """
        return self.results.once(
            "module", lambda: self.settings.working("build", lambda: build_module(self.case)), step="build"
        )

    @property
    def built(self) -> bool:
        """Whether the module is in memory."""
        return self.results.has("module")

    @contextmanager
    def lent(self) -> Iterator[torch.nn.Module]:
        """The module for a while; afterwards its weights are free, and who needs it again builds it again."""
        yield self.module
        self.release()

    def release(self) -> None:
        """Free the weights of the module."""
        self.results.forget("module", "captured")

    @property
    def example(self) -> ModuleInputs:
        """The inputs of the export.

        Raises:
            FindingError: if `inputs` does not fit the forward.
        """
        return self.results.once("example", lambda: self.settings.working("inputs", lambda: self.inputs(EXAMPLE_SEED)))

    def inputs(self, seed: int, sizes: Sizes | None = None) -> ModuleInputs:
        """The inputs of one seed, by name; of a case that `offers_sizes` at the sizes that are asked for."""
        forward = self.results.once("forward signature", lambda: inspect.signature(self.module.forward))
        return module_inputs(self.case, forward, seed, sizes)

    @property
    def calls(self) -> ModuleCalls:
        """Which modules ran."""

        def run() -> ModuleCalls:
            module, example = self.module, self.example
            return self.settings.working("forward", lambda: modules_that_ran(self.case, module, example))

        return self.results.once("calls", run, step="forward")

    @property
    def captured(self) -> Captured:
        """The torch graph.

        Raises:
            FindingError: if torch cannot capture the forward.
        """

        def run() -> Captured:
            result = capture(self.case, module=self.module, inputs=self.example)
            if isinstance(result, CaptureFailure):
                found = f"{result.kind}: {result.reason}"
                raise self.settings.error("capture", "a torch graph", found, (result.where,), result.next)
            return result

        return self.results.once("captured", run, step="capture")

    def save_program(self, path: Path) -> Path:
        """Write what torch.export gives, for a runtime that converts it, at the sizes of the example; beside it, in
        ``<name>.dynamic.pt2``, with the dynamic axes of the case, where it has any and torch takes them.

        Raises:
            FindingError: if torch cannot capture the forward.
        """
        source, example, why = self.captured.source, self.example, ""
        assert source is not None
        outputs = [*run_module(self.case, self.module, example)]
        if example.axes:
            try:
                program = dynamic_program(self.case, self.module, example)
                save_program(program, example.names, outputs, path.with_suffix(".dynamic.pt2"))
            except Exception as error:  # whatever torch raises where it does not take them
                why = f"torch.export: {[*str(error).strip().splitlines(), type(error).__name__][0]}"
        save_program(source, example.names, outputs, path, why)
        return path
