"""The files that optimizers are compared on: the models of examples/zoo at full size, by both exporters.

BERT-base, Whisper and DeiT also with their attention written out (``eager``): their own default is sdpa. Some
transformers also as torchscript writes them without its constant folding (``unfolded``): a node transposes each weight,
and every shape is computed. ResNet-50 also with its BatchNormalization kept (``batchnorm``), as a file exported for
training has it: both exporters fold it else.
The zoo's single blocks are left out: nobody ships them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_modelcheck import ModelCase

CONVOLUTIONAL = ("resnet", "mobilenet", "efficientnet", "efficientdet", "vgg", "yolo")
"""Names of models that are no transformers begin so; YOLO12 has attention blocks and stays with its family."""

ALSO_EAGER = ("bert-base", "whisper", "deit")
ALSO_UNFOLDED = (
    "albert-base-v2",
    "bert-base",
    "deit-small",
    "distilbert",
    "gpt2",
    "whisper-tiny-decoder",
    "whisper-tiny-encoder",
)


@dataclass(frozen=True, slots=True)
class PeerCase:
    """One file of the comparison.

    Attributes:
        case: What is exported.
        variant: ``"eager"``, ``"unfolded"``, ``"eager-unfolded"`` or ``"batchnorm"``; ``""`` as the zoo has it.
    """

    case: ModelCase
    variant: str = ""

    @property
    def model(self) -> str:
        return f"{self.case.name} ({self.variant})" if self.variant else self.case.name

    @property
    def label(self) -> str:
        """Unique, and a file name: ``bert-base-eager-dynamo``."""
        return "-".join(part for part in (self.case.name, self.variant, self.case.exporter) if part)

    @property
    def transformer(self) -> bool:
        return not self.case.name.startswith(CONVOLUTIONAL)


def peer_cases() -> list[PeerCase]:
    """Every case: transformers first, by name."""
    from examples.zoo import blocks
    from examples.zoo.registry import EXPORTERS, MODELS

    found = [PeerCase(model.case(e)) for model in MODELS if model not in blocks.MODELS for e in EXPORTERS]
    eager = [
        PeerCase(dataclasses.replace(case.case, build=_eager(case.case.build)), "eager")
        for case in found
        if case.case.build is not None and case.case.name.startswith(ALSO_EAGER)
    ]
    unfolded = [
        PeerCase(
            dataclasses.replace(case.case, export_options={"do_constant_folding": False}),
            "-".join(part for part in (case.variant, "unfolded") if part),
        )
        for case in [*found, *(case for case in eager if case.case.name == "bert-base")]
        if case.case.name in ALSO_UNFOLDED and case.case.exporter == "torchscript"
    ]
    batchnorm = [
        PeerCase(dataclasses.replace(case.case, export_options=_with_batchnorm()), "batchnorm")
        for case in found
        if (case.case.name, case.case.exporter) == ("resnet50", "torchscript")
    ]
    return sorted([*found, *eager, *unfolded, *batchnorm], key=lambda case: (not case.transformer, case.label))


def _with_batchnorm() -> dict[str, Any]:
    import torch

    return {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}


def _eager(build: Callable[[], Any]) -> Callable[[], Any]:
    def build_eager() -> Any:
        module = build()
        for part in module.modules():
            if hasattr(part, "set_attn_implementation"):
                part.set_attn_implementation("eager")
        return module

    return build_eager
