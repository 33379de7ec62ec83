"""DeiT-Small, ViT-B/16, ViT-L/16, MobileViT-Small and torchvision's ViT-B/16: what their exports are, locked."""

import pytest

from examples.zoo.expectations import NO_CONVOLUTION, WHOLE
from examples.zoo.selecting import cases
from examples.zoo.vision_transformers import (
    DEIT_SMALL,
    MOBILEVIT_SMALL,
    VIT_B_16,
    VIT_B_16_TORCHVISION,
    VIT_L_16,
)

pytestmark = [
    pytest.mark.expect_accuracy(atol=1e-5, rtol=1e-5, seeds=20),
    pytest.mark.expect_hierarchy(coverage=">=95%", modules=">=80%"),
    pytest.mark.expect_latency(speedup=">=0.95"),
]


@pytest.mark.parametrize("model_case", cases(DEIT_SMALL, VIT_B_16))
@pytest.mark.expect_reduction(
    total=">=35%",
    fuse_matmul_add=">=5%",
    cleanup_attention=">=5%",
    **NO_CONVOLUTION,
    **WHOLE,
)
@pytest.mark.expect_ops(Conv=1, Softmax=12)
@pytest.mark.expect_fusion(qkv="12/12")
def test_vit(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(VIT_L_16))
@pytest.mark.expect_reduction(
    total=">=35%",
    fuse_matmul_add=">=5%",
    cleanup_attention=">=5%",
    **NO_CONVOLUTION,
    **WHOLE,
)
@pytest.mark.expect_ops(Conv=1, Softmax=24)
@pytest.mark.expect_fusion(qkv="24/24")
def test_vit_l_16(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(MOBILEVIT_SMALL))
@pytest.mark.expect_reduction(total=">=20%", fuse_matmul_add=">0", cleanup_attention=">=5%", **NO_CONVOLUTION, **WHOLE)
@pytest.mark.expect_ops(BatchNormalization=0, Softmax=9)
@pytest.mark.expect_fusion(qkv="9/9")
def test_mobilevit_small(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(VIT_B_16_TORCHVISION))
@pytest.mark.expect_reduction(basis="isolated", eliminate_redundant_transposes=">=10")
@pytest.mark.expect_reduction(total=">=10%", **NO_CONVOLUTION, **WHOLE)
@pytest.mark.expect_ops(Conv=1, Softmax=12)
@pytest.mark.expect_fusion(qkv="12/12")
def test_vit_b_16_torchvision(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot
