"""torch's counter of floating point operations, completed.

It knows matrix products, convolutions and attention (one multiplication and one addition are two operations);
element-wise work is not counted. The fused attention of the CPU is missing in its table (torch 2.13): it is counted
here by the formula that torch has for the one of CUDA.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


def _attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    """Shapes: query (batch, heads, queries, width), key (batch, heads, keys, width), value (..., keys, width)."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def flop_counter() -> FlopCounterMode:
    """torch's counter, which knows the fused attention of the CPU, too."""
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={kernel: _attention_flops})
