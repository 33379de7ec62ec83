"""T5-small and BART-base, encoder and decoder in one graph: what their exports are, locked."""

import pytest

from examples.zoo.expectations import NO_CONVOLUTION, WHOLE
from examples.zoo.selecting import cases
from examples.zoo.seq2seq import BART_BASE, T5_SMALL

pytestmark = [
    pytest.mark.expect_accuracy(atol=1e-5, rtol=1e-5, seeds=20),
    pytest.mark.expect_hierarchy(coverage=">=95%", modules=">=85%"),
    pytest.mark.expect_latency(speedup=">=0.95"),
]


# 61 nodes of 834 go of dynamo's export, 52 of 1384 of torchscript's.
@pytest.mark.parametrize(
    "model_case",
    cases(
        T5_SMALL,
        dynamo=pytest.mark.expect_reduction(cleanup_attention=">=5%"),
        torchscript=pytest.mark.expect_reduction(cleanup_attention=">=3%"),
    ),
)
@pytest.mark.expect_reduction(
    total=">=25%",
    simplify_shape_chains=">=5%",
    fuse_matmul_add=">0",
    **NO_CONVOLUTION,
    **WHOLE,
)
@pytest.mark.expect_ops(Softmax=18)
@pytest.mark.expect_fusion(qkv="18/18")
def test_t5_small(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(BART_BASE))
@pytest.mark.expect_reduction(
    total=">=40%",
    simplify_shape_chains=">=5%",
    fuse_matmul_add=">=3%",
    cleanup_attention=">=5%",
    **NO_CONVOLUTION,
    **WHOLE,
)
@pytest.mark.expect_ops(Softmax=18)
@pytest.mark.expect_fusion(qkv="18/18")
def test_bart_base(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot
