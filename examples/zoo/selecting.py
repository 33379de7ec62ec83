"""Which cases of the zoo a test run takes. No model's file imports this: what is chosen here changes no export."""

from __future__ import annotations

import os
from typing import Any

import pytest

from examples.zoo.declaring import EXPORTERS, ZooModel
from pytest_modelcheck.model_case import Exporter

FULL = "MODELCHECK_ZOO"
"""The environment variable that lets every case run when it is ``full``; else only those of `QUICK`."""

BOTH, DYNAMO = EXPORTERS, EXPORTERS[:1]
QUICK: dict[str, tuple[Exporter, ...]] = {
    "resnet50": BOTH,
    "bert-base": BOTH,
    "distilbert": BOTH,
    "whisper-tiny-encoder": BOTH,
    "whisper-tiny-decoder": BOTH,
    "roberta-base": DYNAMO,
    "albert-base-v2": DYNAMO,
    "gpt2": DYNAMO,
    "t5-small": DYNAMO,
    "deit-small": DYNAMO,
    "vit-b-16": DYNAMO,
    "mobilevit-small": DYNAMO,
    "efficientnet-b0": BOTH,
    "mobilenet-v2": BOTH,
    "mobilenet-v3-small": BOTH,
    "mobilenet-block": BOTH,
    "efficientnet-block": BOTH,
    "multi-layer-attention": BOTH,
    "patch-attention": BOTH,
    "cross-attention": BOTH,
}
"""Model -> exporters by which every run takes it."""


def skip_reason(model: ZooModel, exporter: Exporter) -> str | None:
    """Why a case does not run here; None where it does."""
    if model.missing:
        return f"{model.name} needs {', '.join(model.missing)}: pip install -c constraints.txt -e '.[zoo]'"
    if exporter not in QUICK.get(model.name, ()) and os.environ.get(FULL) != "full":
        return f"{model.name} by {exporter} is one of those that run with {FULL}=full"
    return None


def cases(*models: ZooModel, exporters: tuple[Exporter, ...] = EXPORTERS, **marks: pytest.MarkDecorator) -> list[Any]:
    """The cases of some models, for ``@pytest.mark.parametrize("model_case", ...)``.

    Cases that do not run here are skipped, and say why.

    Args:
        models: Whose cases.
        exporters: By which exporters.
        marks: Exporter -> a marker that only its cases get: ``dynamo=pytest.mark.expect_reduction(total=0)``.
    """
    assert marks.keys() <= set(EXPORTERS), f"no exporters: {sorted(marks.keys() - set(EXPORTERS))}"
    return [
        pytest.param(
            model.case(exporter),
            id=f"{model.name}-{exporter}",
            marks=[
                *([marks[exporter]] if exporter in marks else []),
                *([pytest.mark.skip(reason=reason)] if (reason := skip_reason(model, exporter)) else []),
            ],
        )
        for model in models
        for exporter in exporters
    ]
