"""torch's counter of floating point operations, completed.

It knows matrix products, convolutions and attention (one multiplication and one addition are two operations);
element-wise work is not counted. Missing in its table (torch 2.13) are the fused attention of the CPU, which is counted
by the formula that torch has for the one of CUDA, and products with a vector. Kernels that compute a whole layer count
nothing, so they are switched off: the fast path of attention and encoder layers, and oneDNN's LSTM.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

_aten = torch.ops.aten


def _attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    """Shapes: query (batch, heads, queries, width), key (batch, heads, keys, width), value (..., keys, width)."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _vector_flops(left: Sequence[int], right: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    """Shapes: (rows, width) or (width) times (width)."""
    return 2 * math.prod(left)


def _added_vector_flops(
    added: Sequence[int], left: Sequence[int], right: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any
) -> int:
    """Shapes: (rows) + (rows, width) times (width)."""
    return 2 * math.prod(left)


_COUNTED = {
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    _aten.mv: _vector_flops,
    _aten.dot: _vector_flops,
    _aten.vdot: _vector_flops,
    _aten.addmv: _added_vector_flops,
}


@contextmanager
def _without_word_of_tf32() -> Iterator[None]:
    """`torch.backends.mkldnn.flags` sets TF32 as well, and warns once in each test that only Intel's GPUs have it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TF32 acceleration on top of oneDNN")
        yield


@contextmanager
def flop_counter() -> Iterator[FlopCounterMode]:
    """torch's counter while the block runs, with all that its own table leaves out."""
    one_dnn: Any = torch.backends.mkldnn
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            _without_word_of_tf32(),
            one_dnn.flags(enabled=False),
            FlopCounterMode(display=False, custom_mapping=_COUNTED) as counter,
        ):
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
