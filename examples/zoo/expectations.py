"""What several models expect of the pipeline alike: ``@pytest.mark.expect_reduction(total=0, **NO_CONVOLUTION)``."""

from __future__ import annotations

NOTHING_DEAD = {"eliminate_dead_nodes": 0}
"""No exporter leaves nodes whose result nobody reads."""

NO_CONVOLUTION = {**NOTHING_DEAD, "fuse_pad_conv": 0, "fuse_conv_batchnorm": 0, "fuse_conv_relu": 0}
"""No convolution, or one by itself."""

NO_TRANSFORMER = {**NOTHING_DEAD, "cleanup_attention": 0, "fuse_matmul_add": 0, "fuse_layernorm": 0, "fuse_gelu": 0}
"""No attention, and no MatMul with a bias."""

WHOLE = {"fuse_layernorm": 0, "fuse_gelu": 0}
"""No LayerNorm and no GELU that is written out: exporters give one operator for each."""
