"""BERT-base by both exporters: what its export is, locked."""

import pytest

from examples.zoo.bert_base import CASES


@pytest.mark.parametrize("model_case", CASES)
@pytest.mark.expect_reduction(total=">=45%", cleanup_attention=">=5%", fuse_matmul_add=">=5%", fuse_conv_relu=0)
@pytest.mark.expect_ops(Softmax=12, Transpose="<=60")
@pytest.mark.expect_accuracy(atol=1e-5, rtol=1e-5, seeds=20)
@pytest.mark.expect_hierarchy(coverage=">=95%", modules=">=90%")
@pytest.mark.expect_fusion(qkv="12/12", subgraphs="<=82", mean_size=">=4.5")
@pytest.mark.expect_latency(speedup=">=0.95", regression="<=10%")
def test_bert_base(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot
    assert modelcheck.baseline == modelcheck_snapshot
