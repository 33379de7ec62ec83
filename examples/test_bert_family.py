"""BERT-large, DistilBERT, RoBERTa-base and ALBERT-base-v2: what their exports are, locked."""

from typing import Any

import pytest

from examples.zoo.bert_family import ALBERT, BERT_LARGE, DISTILBERT, ROBERTA
from examples.zoo.expectations import NO_CONVOLUTION, WHOLE
from examples.zoo.selecting import cases

pytestmark = [
    pytest.mark.expect_accuracy(atol=1e-5, rtol=1e-5, seeds=20),
    pytest.mark.expect_hierarchy(coverage=">=95%", modules=">=90%"),
    pytest.mark.expect_latency(speedup=">=0.95"),
]
ENCODER = {
    **NO_CONVOLUTION,
    "total": ">=45%",
    "simplify_shape_chains": ">=5%",
    "eliminate_identity_ops": ">0",
    "fuse_matmul_add": ">=5%",
    "cleanup_attention": ">=5%",
}
BY_EXPORTER: dict[str, Any] = {
    "dynamo": pytest.mark.expect_reduction(eliminate_redundant_transposes=">0", eliminate_common_subexpressions=0),
    "torchscript": pytest.mark.expect_reduction(fold_constants=">0", eliminate_common_subexpressions=">0"),
}


@pytest.mark.parametrize("model_case", cases(BERT_LARGE, **BY_EXPORTER))
@pytest.mark.expect_reduction(**ENCODER, **WHOLE)
@pytest.mark.expect_ops(Softmax=24)
@pytest.mark.expect_fusion(qkv="24/24")
def test_bert_large(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(DISTILBERT, **BY_EXPORTER))
@pytest.mark.expect_reduction(**ENCODER, **WHOLE)
@pytest.mark.expect_ops(Softmax=6)
@pytest.mark.expect_fusion(qkv="6/6")
def test_distilbert(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(ROBERTA, **BY_EXPORTER))
@pytest.mark.expect_reduction(**ENCODER, **WHOLE)
@pytest.mark.expect_ops(Softmax=12)
@pytest.mark.expect_fusion(qkv="12/12")
def test_roberta_base(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


# ALBERT's GELU is written out; Gelu came with opset 20, and the torchscript exporter stops before it.
@pytest.mark.parametrize(
    "model_case",
    cases(
        ALBERT,
        dynamo=pytest.mark.expect_reduction(fuse_gelu=">=5%", eliminate_redundant_transposes=">0"),
        torchscript=pytest.mark.expect_reduction(
            fuse_gelu=0, fold_constants=">0", eliminate_common_subexpressions=">0"
        ),
    ),
)
@pytest.mark.expect_reduction(**ENCODER, fuse_layernorm=0)
@pytest.mark.expect_ops(Softmax=12)
@pytest.mark.expect_fusion(qkv="12/12")
def test_albert_base_v2(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot
