"""GPT-2, SmolLM2 (Llama's architecture with grouped-query attention) and Phi-2: what their exports are, locked."""

from typing import Any

import pytest

from examples.zoo.decoders import GPT2, PHI2, SMOLLM2
from examples.zoo.expectations import NO_CONVOLUTION, WHOLE
from examples.zoo.selecting import cases

pytestmark = [
    pytest.mark.expect_accuracy(atol=1e-5, rtol=1e-5, seeds=20),
    pytest.mark.expect_hierarchy(coverage=">=95%", modules=">=85%"),
    pytest.mark.expect_latency(speedup=">=0.95"),
]


# Gelu came with opset 20; the torchscript exporter stops before it.
WRITTEN_GELU: dict[str, Any] = {
    "dynamo": pytest.mark.expect_reduction(fuse_gelu=">0"),
    "torchscript": pytest.mark.expect_reduction(fuse_gelu=0),
}


@pytest.mark.parametrize("model_case", cases(GPT2, **WRITTEN_GELU))
@pytest.mark.expect_reduction(
    total=">=40%",
    simplify_shape_chains=">=5%",
    fuse_matmul_add=">=3%",
    cleanup_attention=">=3%",
    fuse_layernorm=0,
    **NO_CONVOLUTION,
)
@pytest.mark.expect_ops(Softmax=12)
@pytest.mark.expect_fusion(qkv="12/12")
def test_gpt2(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(SMOLLM2))
@pytest.mark.expect_reduction(
    total=">=5%", simplify_shape_chains=">0", cleanup_attention=">0", fuse_matmul_add=">0", **NO_CONVOLUTION, **WHOLE
)
@pytest.mark.expect_ops(Softmax=30)
@pytest.mark.expect_fusion(qkv="30/30")
def test_smollm2_135m(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot


@pytest.mark.parametrize("model_case", cases(PHI2, **WRITTEN_GELU))
@pytest.mark.expect_reduction(
    total=">=20%",
    simplify_shape_chains=">0",
    cleanup_attention=">0",
    fuse_matmul_add=">0",
    fuse_layernorm=0,
    **NO_CONVOLUTION,
)
@pytest.mark.expect_ops(Softmax=2)
@pytest.mark.expect_fusion(qkv="2/2")
def test_phi2(modelcheck, modelcheck_snapshot):
    assert modelcheck == modelcheck_snapshot
