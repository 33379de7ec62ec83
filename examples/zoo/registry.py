"""Every model of the zoo, in the order of the tables."""

from __future__ import annotations

from examples.zoo import (
    bert_base,
    bert_family,
    blocks,
    convolutional,
    decoders,
    detectors,
    resnet50,
    seq2seq,
    vision_transformers,
    whisper,
)
from examples.zoo.declaring import EXPORTERS, ZooModel
from pytest_modelcheck import ModelCase

MODELS: tuple[ZooModel, ...] = (
    *detectors.MODELS,
    *convolutional.MODELS,
    resnet50.RESNET50,
    bert_base.BERT_BASE,
    *bert_family.MODELS,
    *whisper.MODELS,
    *decoders.MODELS,
    *seq2seq.MODELS,
    *vision_transformers.MODELS,
    *blocks.MODELS,
)
ALL_CASES: dict[str, tuple[ModelCase, ...]] = {
    model.name: tuple(model.case(exporter) for exporter in EXPORTERS) for model in MODELS
}
"""Model name -> its cases, by the dynamo and by the torchscript exporter."""


def model(name: str) -> ZooModel:
    """The model of this name.

    Raises:
        KeyError: naming all models, if there is none.
    """
    for candidate in MODELS:
        if candidate.name == name:
            return candidate
    raise KeyError(f"{name!r} is not in the zoo; it has {', '.join(ALL_CASES)}")


def case(name: str, exporter: str) -> ModelCase:
    """The case of a model by an exporter, both as a command line or a file of results names them.

    Raises:
        KeyError: naming what there is, if there is none.
    """
    for known in EXPORTERS:
        if known == exporter:
            return model(name).case(known)
    raise KeyError(f"{exporter!r} is no exporter of the zoo; it has {', '.join(EXPORTERS)}")
