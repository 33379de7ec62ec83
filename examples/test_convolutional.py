"""EfficientNet-B0, MobileNetV2, MobileNetV3-Small and VGG-16: what their exports are, locked."""

import pytest

from examples.zoo.convolutional import EFFICIENTNET_B0, MOBILENET_V2, MOBILENET_V3_SMALL, VGG16
from examples.zoo.expectations import NO_TRANSFORMER
from examples.zoo.selecting import cases

ACCURACY = pytest.mark.expect_accuracy(atol=1e-5, rtol=1e-5, seeds=20)

pytestmark = [
    pytest.mark.expect_hierarchy(coverage=">=95%", modules=">=60%"),
    pytest.mark.expect_latency(speedup=">=0.95"),
]


# Not varied: of an image of ones, every patch of which is like the next, onnxruntime's NchwcTransformer makes something
# that is 1.6e-5 from what the same export gives without it.
@pytest.mark.parametrize(
    "model_case",
    cases(
        EFFICIENTNET_B0,
        dynamo=pytest.mark.expect_reduction(total=0),
        torchscript=pytest.mark.expect_reduction(fold_constants=">0", simplify_shape_chains=0, fuse_pad_conv=5),
    ),
)
@pytest.mark.expect_accuracy(atol=1e-5, rtol=1e-5, seeds=20, varied=False)
@pytest.mark.expect_reduction(**NO_TRANSFORMER, fuse_conv_batchnorm=0, fuse_conv_relu=0)
@pytest.mark.expect_ops(Conv=81, BatchNormalization=0)
def test_efficientnet_b0(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize(
    "model_case",
    cases(
        MOBILENET_V2,
        dynamo=pytest.mark.expect_reduction(total=0),
        torchscript=pytest.mark.expect_reduction(total=">=80%", fold_constants=">=50%", fuse_pad_conv=18),
    ),
)
@ACCURACY
@pytest.mark.expect_reduction(**NO_TRANSFORMER, fuse_conv_batchnorm=0, fuse_conv_relu=0)
@pytest.mark.expect_ops(Conv=52, BatchNormalization=0)
def test_mobilenet_v2(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(MOBILENET_V3_SMALL))
@ACCURACY
@pytest.mark.expect_reduction(total=0, **NO_TRANSFORMER, fuse_conv_batchnorm=0, fuse_conv_relu=0)
@pytest.mark.expect_ops(Conv=52, BatchNormalization=0)
def test_mobilenet_v3_small(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(VGG16))
@ACCURACY
@pytest.mark.expect_reduction(total=0, **NO_TRANSFORMER, fuse_conv_batchnorm=0, fuse_conv_relu=0)
@pytest.mark.expect_ops(Conv=13, Gemm=3, Relu=15)
def test_vgg16(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot
