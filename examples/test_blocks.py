"""Small blocks: what one layer of the larger models exports to, locked."""

import pytest

from examples.zoo.blocks import (
    CROSS_ATTENTION,
    EFFICIENTNET_BLOCK,
    MOBILENET_BLOCK,
    MULTI_LAYER_ATTENTION,
    PATCH_ATTENTION,
)
from examples.zoo.expectations import NO_CONVOLUTION, NO_TRANSFORMER, WHOLE
from examples.zoo.selecting import cases

pytestmark = [
    pytest.mark.expect_accuracy(atol=1e-5, rtol=1e-5, seeds=20),
    pytest.mark.expect_hierarchy(coverage=">=90%", modules=">=60%"),
]


@pytest.mark.parametrize("model_case", cases(MOBILENET_BLOCK))
@pytest.mark.expect_reduction(total=0, **NO_TRANSFORMER, fuse_conv_batchnorm=0, fuse_conv_relu=0)
@pytest.mark.expect_ops(Conv=2, Clip=2, BatchNormalization=0)
def test_mobilenet_block(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(EFFICIENTNET_BLOCK))
@pytest.mark.expect_reduction(total=0, **NO_TRANSFORMER, fuse_conv_batchnorm=0, fuse_conv_relu=0)
@pytest.mark.expect_ops(Conv=5, BatchNormalization=0)
def test_efficientnet_block(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(MULTI_LAYER_ATTENTION))
@pytest.mark.expect_reduction(total=">=35%", cleanup_attention=">=5%", fuse_matmul_add=10, **NO_CONVOLUTION, **WHOLE)
@pytest.mark.expect_ops(Softmax=3)
@pytest.mark.expect_fusion(qkv="3/3")
def test_multi_layer_attention(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(PATCH_ATTENTION))
@pytest.mark.expect_reduction(
    total=">=15%", eliminate_redundant_transposes=2, cleanup_attention=">=5%", **NO_CONVOLUTION, **WHOLE
)
@pytest.mark.expect_ops(Softmax=1)
@pytest.mark.expect_fusion(qkv="1/1")
def test_patch_attention(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(CROSS_ATTENTION))
@pytest.mark.expect_reduction(total=">=20%", cleanup_attention=">0", fuse_matmul_add=5, **NO_CONVOLUTION, **WHOLE)
@pytest.mark.expect_ops(Softmax=2)
@pytest.mark.expect_fusion(qkv="2/2")
def test_cross_attention(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot
