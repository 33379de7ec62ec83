"""`ZooModel`: one model of the zoo, to be exported by both exporters."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_modelcheck import ModelCase

if TYPE_CHECKING:
    import torch

    from pytest_modelcheck.model_case import Exporter

EXPORTERS: tuple[Exporter, ...] = ("dynamo", "torchscript")


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooModel:
    """A model and how it is exported.

    Attributes:
        name: As it stands in every table.
        build, inputs: As in `ModelCase`.
        dynamic_axes, output_names: As in `ModelCase`.
        requires: Libraries beyond transformers.
    """

    name: str
    build: Callable[[], torch.nn.Module]
    inputs: Callable[[int], Any]
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None
    output_names: Sequence[str] | None = None
    requires: tuple[str, ...] = ()

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
