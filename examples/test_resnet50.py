"""ResNet-50 by both exporters: what its export is, locked."""

import pytest

from examples.zoo.resnet50 import CASES


@pytest.mark.parametrize("model_case", CASES)
@pytest.mark.expect_reduction(total=0, fuse_conv_batchnorm=0, cleanup_attention=0)
@pytest.mark.expect_ops(Conv=53, BatchNormalization=0)
@pytest.mark.expect_accuracy(atol=1e-5, rtol=1e-5, seeds=20)
@pytest.mark.expect_hierarchy(coverage=">=95%", modules=">=60%")
@pytest.mark.expect_latency(speedup=">=0.95", regression="<=10%")
def test_resnet50(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot
    assert modelcheck.baseline == modelcheck_snapshot
