"""`ZooModel`: one model of the zoo, by both exporters, and when its tests run."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pytest_modelcheck import ModelCase

if TYPE_CHECKING:
    import torch

    from pytest_modelcheck.model_case import Exporter

EXPORTERS: tuple[Exporter, ...] = ("dynamo", "torchscript")
FULL = "MODELCHECK_ZOO"
"""The environment variable that lets every case run when it is ``full``; else those of `ZooModel.quick`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooModel:
    """A model and how it is exported.

    Attributes:
        name: As it stands in every table.
        build, inputs: As in `ModelCase`.
        dynamic_axes, output_names: As in `ModelCase`.
        requires: Libraries beyond transformers; without them the cases are skipped, with that reason.
        quick: Exporters that every run takes; the others run with ``MODELCHECK_ZOO=full``.
    """

    name: str
    build: Callable[[], torch.nn.Module]
    inputs: Callable[[int], Any]
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None
    output_names: Sequence[str] | None = None
    requires: tuple[str, ...] = ()
    quick: tuple[Exporter, ...] = EXPORTERS

    def case(self, exporter: Exporter) -> ModelCase:
        """The model as a case of one exporter."""
        return ModelCase(
            self.name,
            self.build,
            self.inputs,
            exporter=exporter,
            dynamic_axes=self.dynamic_axes,
            output_names=self.output_names,
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """Required libraries that are not installed."""
        return tuple(name for name in self.requires if importlib.util.find_spec(name) is None)

    def skip_reason(self, exporter: Exporter) -> str | None:
        """Why the case does not run here; None where it does."""
        if self.missing:
            return f"{self.name} needs {', '.join(self.missing)}: pip install -c constraints.txt -e '.[zoo]'"
        if exporter not in self.quick and os.environ.get(FULL) != "full":
            return f"{self.name} by {exporter} is large: runs with {FULL}=full"
        return None


def cases(*models: ZooModel, exporters: tuple[Exporter, ...] = EXPORTERS) -> list[Any]:
    """The cases of some models, for ``@pytest.mark.parametrize("model_case", ...)``.

    Cases that cannot run here are skipped, and say why.
    """
    return [
        pytest.param(
            model.case(exporter),
            id=f"{model.name}-{exporter}",
            marks=[pytest.mark.skip(reason=reason)] if (reason := model.skip_reason(exporter)) else [],
        )
        for model in models
        for exporter in exporters
    ]
