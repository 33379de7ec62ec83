"""How a case becomes an ONNX model: a module that is exported, or a file that somebody else made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.calling.sizes import Sizes, draw
from pytest_modelcheck.check.file_and_module import misfit
from pytest_modelcheck.check.results import Results
from pytest_modelcheck.check.torch_side import TorchSide
from pytest_modelcheck.export import Exported, ExportFailure, export, was_edited
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.runtimes import inputs_from_signature, signature_of
from pytest_modelcheck.store import Store

Inputs = ModuleInputs | Mapping[str, Any]
"""One set of inputs: of a module, or arrays by name."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the ONNX model of a case comes from.

    Attributes:
        torch: The module that the model stands for; None where there is only a file.
        timeout: Seconds an exporter may take; None for any.
    """

    case: ModelCase
    results: Results
    torch: TorchSide | None
    timeout: float | None

    def export(self, cache: Store | None) -> Exported | ExportFailure:
        """The ONNX model, or why there is none. Of a file nothing is kept."""
        if self.torch is None or self.case.onnx_path is None:
            module = None if self.torch is None else self.torch.module
            return export(self.case, module=module, cache=cache, timeout=self.timeout)
        opened = export(self.case)
        return opened if isinstance(opened, ExportFailure) else misfit(self.torch, opened) or opened

    def inputs(self, seed: int, exported: Exported, sizes: Sizes | None = None) -> Inputs:
        """The inputs of one seed, by name; at these sizes, of a case that `offers_sizes`."""
        if self.torch is not None:
            return self.torch.inputs(seed, sizes)
        if self.case.inputs is not None:
            return dict(draw(self.case, seed, sizes))
        signature = self.results.once("signature", lambda: signature_of(exported.model, self.case.name))
        return dict(inputs_from_signature(signature, seed))

    def changed(self, exported: Exported) -> bool:
        """Whether the module or its example inputs are no longer what was exported: a test can reach and edit both."""
        if self.torch is None or self.case.onnx_path is not None or not self.torch.built or self.results.untouched:
            return False
        return was_edited(exported, self.torch.module, self.torch.example)
