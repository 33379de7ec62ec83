"""YOLOv8n, YOLOv8s, YOLO12n and EfficientDet-D0: what their exports are, locked. They need the extra `zoo`."""

import pytest

from examples.zoo.detectors import EFFICIENTDET_D0, YOLO12N, YOLOV8N, YOLOV8S
from examples.zoo.expectations import NO_TRANSFORMER
from examples.zoo.selecting import cases

pytestmark = [
    pytest.mark.expect_accuracy(atol=1e-5, rtol=1e-5, seeds=20),
    pytest.mark.expect_hierarchy(coverage=">=95%", modules=">=60%"),
    pytest.mark.expect_latency(speedup=">=0.95"),
]


@pytest.mark.parametrize("model_case", cases(YOLOV8N, YOLOV8S))
@pytest.mark.expect_reduction(basis="isolated", eliminate_redundant_transposes=0, **NO_TRANSFORMER)
@pytest.mark.expect_ops(Conv=64, BatchNormalization=0)
def test_yolov8(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(YOLO12N))
@pytest.mark.expect_reduction(basis="isolated", eliminate_redundant_transposes=">=10")
@pytest.mark.expect_ops(BatchNormalization=0, Transpose="<=29")
def test_yolo12n(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


# What is added up has learned weights: constants behind convolutions, which take them in. torchscript computes most of
# them behind convolutions that something else reads, too.
@pytest.mark.parametrize(
    "model_case",
    cases(
        EFFICIENTDET_D0,
        dynamo=pytest.mark.expect_reduction(fuse_pad_conv=14, fuse_conv_batchnorm=35),
        torchscript=pytest.mark.expect_reduction(fold_constants=">=60%", fuse_pad_conv=19, fuse_conv_batchnorm=5),
    ),
)
@pytest.mark.expect_reduction(total=">=0%", fuse_conv_relu=0, **NO_TRANSFORMER)
@pytest.mark.expect_ops(BatchNormalization=0)
def test_efficientdet_d0(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot
