"""Whisper-tiny and -base, encoders and decoders with cross-attention: what their exports are, locked."""

import pytest

from examples.zoo.expectations import NO_CONVOLUTION, WHOLE
from examples.zoo.selecting import cases
from examples.zoo.whisper import BASE_DECODER, BASE_ENCODER, TINY_DECODER, TINY_ENCODER

pytestmark = [
    pytest.mark.expect_accuracy(atol=1e-5, rtol=1e-5, seeds=20),
    pytest.mark.expect_hierarchy(coverage=">=95%", modules=">=85%"),
]


@pytest.mark.parametrize("model_case", cases(TINY_ENCODER))
@pytest.mark.expect_latency(speedup=">=0.95")
@pytest.mark.expect_reduction(
    total=">=30%",
    simplify_shape_chains=">0",
    fuse_matmul_add=">=5%",
    cleanup_attention=">=5%",
    **NO_CONVOLUTION,
    **WHOLE,
)
@pytest.mark.expect_ops(Conv=2, Softmax=4)
@pytest.mark.expect_fusion(qkv="4/4")
def test_whisper_tiny_encoder(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(TINY_DECODER))
@pytest.mark.expect_latency(speedup=">=0.95")
@pytest.mark.expect_reduction(
    total=">=40%",
    simplify_shape_chains=">=5%",
    fuse_matmul_add=">=5%",
    cleanup_attention=">=5%",
    **NO_CONVOLUTION,
    **WHOLE,
)
@pytest.mark.expect_ops(Conv=0, Softmax=8)
@pytest.mark.expect_fusion(qkv="8/8")
def test_whisper_tiny_decoder(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(BASE_ENCODER))
@pytest.mark.expect_latency(speedup=">=0.95")
@pytest.mark.expect_reduction(
    total=">=20%",
    simplify_shape_chains=">0",
    fuse_matmul_add=">=5%",
    cleanup_attention=">0",
    **NO_CONVOLUTION,
    **WHOLE,
)
@pytest.mark.expect_ops(Conv=2, Softmax=6)
@pytest.mark.expect_fusion(qkv="6/6")
def test_whisper_base_encoder(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(BASE_ENCODER))
@pytest.mark.xfail(
    reason="6 of 200 nodes (dynamo), 6 of 225 (torchscript): merging Q, K and V would copy 8.8 MiB a layer"
)
@pytest.mark.expect_reduction(cleanup_attention=">=5%")
def test_attention_cleanup_removes_a_twentieth_of_whisper_base_encoder(modelcheck):
    assert modelcheck.attribution.nodes_after < modelcheck.attribution.nodes_before


@pytest.mark.parametrize("model_case", cases(BASE_DECODER))
@pytest.mark.expect_latency(speedup=">=0.95")
@pytest.mark.expect_reduction(
    total=">=40%",
    simplify_shape_chains=">=5%",
    fuse_matmul_add=">=5%",
    cleanup_attention=">=5%",
    **NO_CONVOLUTION,
    **WHOLE,
)
@pytest.mark.expect_ops(Conv=0, Softmax=12)
@pytest.mark.expect_fusion(qkv="12/12")
def test_whisper_base_decoder(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot
