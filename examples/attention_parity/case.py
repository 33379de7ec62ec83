"""The model case of the attention module: causal self-attention, weights and inputs drawn by numpy.

numpy's RandomState gives the same numbers in every version, torch's generators do not promise that: the weights stay
those of the golden file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_modelcheck import ModelCase

if TYPE_CHECKING:
    import torch

    from examples.attention_parity.attention import Attention

GOLDEN = Path(__file__).with_name("attention.golden.npz")


def build() -> Attention:
    import numpy as np
    import torch

    from examples.attention_parity.attention import Attention

    module, random = Attention(8, 2, causal=True), np.random.RandomState(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(random.randn(*parameter.shape) * 0.5))
    return module


def inputs(seed: int) -> dict[str, torch.Tensor]:
    """x: (2, 9, 8) float32."""
    import numpy as np
    import torch

    return {"x": torch.from_numpy(np.random.RandomState(seed).randn(2, 9, 8).astype(np.float32))}


CASE = ModelCase("attention", build, inputs, output_names=["output"])
