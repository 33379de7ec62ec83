"""How a case becomes an ONNX model: a module that is exported, or a file that somebody else made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.calling.sizes import Sizes, draw
from pytest_modelcheck.check.file_and_module import misfit
from pytest_modelcheck.check.results import Results
from pytest_modelcheck.check.settings import Settings
from pytest_modelcheck.check.torch_side import TorchSide
from pytest_modelcheck.export import Exported, ExportFailure, export, was_edited
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.runtimes import Signature, inputs_from_signature, signature_of
from pytest_modelcheck.store import Store, temporary_folder

Inputs = ModuleInputs | Mapping[str, Any]
"""One set of inputs: of a module, or arrays by name."""


class Source(Protocol):
    """Where the ONNX model of a case comes from."""

    @property
    def torch(self) -> TorchSide | None:
        """The module that the model stands for; None where there is only a file."""

    def export(self, cache: Store | None) -> Exported | ExportFailure:
        """The ONNX model, or why there is none."""

    def inputs(self, seed: int, exported: Exported, sizes: Sizes | None = None) -> Inputs:
        """The inputs of one seed, by name; at these sizes, of a case that `offers_sizes`."""

    def keeps(self, exported: Exported) -> bool:
        """Whether results may be kept beside the export."""

    def changed(self, exported: Exported) -> bool:
        """Whether the module or its example inputs are no longer what was exported: a test can reach and edit both."""

    def folder(self, exported: Exported) -> Path:
        """Where an optimized graph may be written."""


@dataclass(frozen=True, slots=True)
class ExportedModule:
    """A module that is exported."""

    torch: TorchSide
    timeout: float | None = None

    def export(self, cache: Store | None) -> Exported | ExportFailure:
        return export(self.torch.case, module=self.torch.module, cache=cache, timeout=self.timeout)

    def inputs(self, seed: int, exported: Exported, sizes: Sizes | None = None) -> Inputs:
        return self.torch.inputs(seed, sizes)

    def keeps(self, exported: Exported) -> bool:
        return not exported.key.uncacheable

    def changed(self, exported: Exported) -> bool:
        reachable = self.torch.built and not self.torch.results.untouched
        return reachable and was_edited(exported, self.torch.module, self.torch.example)

    def folder(self, exported: Exported) -> Path:
        return exported.path.parent


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A file that somebody else made; nothing is ever written beside it."""

    case: ModelCase
    results: Results
    torch: TorchSide | None = None

    def export(self, cache: Store | None) -> Exported | ExportFailure:
        opened = export(self.case)
        if self.torch is None or isinstance(opened, ExportFailure):
            return opened
        return misfit(self.torch, opened) or opened

    def inputs(self, seed: int, exported: Exported, sizes: Sizes | None = None) -> Inputs:
        if self.torch is not None:
            return self.torch.inputs(seed, sizes)
        if self.case.inputs is not None:
            return dict(draw(self.case, seed, sizes))
        return dict(inputs_from_signature(self._signature(exported), seed))

    def _signature(self, exported: Exported) -> Signature:
        return self.results.once("signature", lambda: signature_of(exported.model, self.case.name))

    def keeps(self, exported: Exported) -> bool:
        return False

    def changed(self, exported: Exported) -> bool:
        return False

    def folder(self, exported: Exported) -> Path:
        return temporary_folder()


def source_of(case: ModelCase, settings: Settings, results: Results) -> Source:
    """The source of a case."""
    torch = None if case.build is None else TorchSide(case, settings, results)
    if case.onnx_path is not None:
        return OnnxFile(case, results, torch)
    assert torch is not None  # ModelCase takes no case with neither a file nor a build
    return ExportedModule(torch, settings.export_timeout)
