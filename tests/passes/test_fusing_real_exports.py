"""The fusing passes on what both exporters really write for BERT, with eager and with sdpa attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from transformers import BertConfig, BertModel

from examples.zoo.jitter import jitter
from pytest_modelcheck import ModelCase
from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.graph.counts import count_nodes, op_counts
from pytest_modelcheck.pipeline import run_pipeline
from tests.passes.fusing_checks import outputs

LAYERS = 2
SMALL = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 50}


def bert(exporter: Any, attention: str) -> ModelCase:
    def build() -> BertModel:
        config = BertConfig(
            num_hidden_layers=LAYERS, max_position_embeddings=32, attn_implementation=attention, **SMALL
        )
        return jitter(BertModel(config))

    def inputs(seed: int) -> dict[str, torch.Tensor]:
        draw = torch.Generator().manual_seed(seed)
        mask = torch.ones(2, 8, dtype=torch.long)
        mask[1, 5:] = 0
        return {"input_ids": torch.randint(0, 50, (2, 8), generator=draw), "attention_mask": mask}

    axes = {0: "batch", 1: "sequence"}
    return ModelCase(
        "bert-2-layers",
        build,
        inputs,
        exporter=exporter,
        dynamic_axes={"input_ids": axes, "attention_mask": axes},
        output_names=["last_hidden_state", "pooler_output"],
    )


@pytest.fixture(scope="module", params=[(e, a) for e in ("dynamo", "torchscript") for a in ("eager", "sdpa")], ids=str)
def exported(request: pytest.FixtureRequest) -> ir.Model:
    made = export(bert(*request.param))
    assert isinstance(made, Exported), made
    return made.model


def masks() -> list[np.ndarray[Any, Any]]:
    """Without padding, padded right, padded left, and one row that is padding alone."""
    made = [np.ones((3, 7), np.int64) for _ in range(4)]
    made[1][1:, 4:] = 0
    made[2][1:, :3] = 0
    made[3][1] = 0
    return made


@pytest.mark.parametrize("target", ["portable", "opset23", "onnxruntime"])
def test_every_target_computes_the_same_with_fewer_nodes(exported: ir.Model, target: Any) -> None:
    optimized, records = run_pipeline(exported, None, target)

    assert not [record.error for record in records if record.error]
    by_name = {record.name: record for record in records}
    before = count_nodes(exported)
    assert by_name["cleanup_attention"].delta <= -0.05 * before
    assert by_name["fuse_matmul_add"].delta < 0
    assert count_nodes(optimized) < 0.8 * before
    draw = np.random.default_rng(0)
    reference, candidate = _proto(exported), _proto(optimized)
    for mask in masks():
        given = {"input_ids": draw.integers(0, 50, mask.shape), "attention_mask": mask}
        expected, found = outputs(reference, given), outputs(candidate, given)
        for name, array in expected.items():
            difference = np.abs(array - found[name]).max() / max(1.0, np.abs(array).max())
            assert difference <= 1e-5, (name, mask)


def test_target_opset23_has_one_attention_per_layer(exported: ir.Model) -> None:
    optimized, _ = run_pipeline(exported, None, "opset23")

    counts = op_counts(optimized)
    assert counts["Attention"] == LAYERS
    assert counts["Split"] == LAYERS
    assert "Softmax" not in counts
    assert optimized.opset_imports[""] == 23


def _proto(model: ir.Model) -> onnx.ModelProto:
    return ir.to_proto(model)
