"""BERT-large, DistilBERT, RoBERTa-base and ALBERT-base-v2: what their exports are, locked."""

import pytest

from examples.zoo.bert_family import ALBERT, BERT_LARGE, DISTILBERT, ROBERTA
from examples.zoo.selecting import cases

pytestmark = [
    pytest.mark.expect_accuracy(atol=1e-5, rtol=1e-5, seeds=20),
    pytest.mark.expect_hierarchy(coverage=">=95%", modules=">=90%"),
    pytest.mark.expect_latency(speedup=">=0.95"),
]


@pytest.mark.parametrize("model_case", cases(BERT_LARGE))
@pytest.mark.expect_reduction(total=">=30%", cleanup_attention=">=5%", fuse_matmul_add=">0", fuse_conv_relu=0)
@pytest.mark.expect_ops(Softmax=24)
@pytest.mark.expect_fusion(qkv="24/24")
def test_bert_large(modelcheck, modelcheck_snapshot):
    assert modelcheck.attribution == modelcheck_snapshot
    assert modelcheck.modules == modelcheck_snapshot
    assert modelcheck.fusion == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(DISTILBERT))
@pytest.mark.expect_reduction(total=">=30%", cleanup_attention=">=5%", fuse_matmul_add=">0", fuse_conv_relu=0)
@pytest.mark.expect_ops(Softmax=6)
@pytest.mark.expect_fusion(qkv="6/6")
def test_distilbert(modelcheck, modelcheck_snapshot):
    assert modelcheck.attribution == modelcheck_snapshot
    assert modelcheck.modules == modelcheck_snapshot
    assert modelcheck.fusion == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(ROBERTA))
@pytest.mark.expect_reduction(total=">=30%", cleanup_attention=">=5%", fuse_matmul_add=">0", fuse_conv_relu=0)
@pytest.mark.expect_ops(Softmax=12)
@pytest.mark.expect_fusion(qkv="12/12")
def test_roberta_base(modelcheck, modelcheck_snapshot):
    assert modelcheck.attribution == modelcheck_snapshot
    assert modelcheck.modules == modelcheck_snapshot
    assert modelcheck.fusion == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(ALBERT))
@pytest.mark.expect_reduction(total=">=30%", cleanup_attention=">=5%", fuse_matmul_add=">0", fuse_conv_relu=0)
@pytest.mark.expect_ops(Softmax=12)
@pytest.mark.expect_fusion(qkv="12/12")
def test_albert_base_v2(modelcheck, modelcheck_snapshot):
    assert modelcheck.attribution == modelcheck_snapshot
    assert modelcheck.modules == modelcheck_snapshot
    assert modelcheck.fusion == modelcheck_snapshot
