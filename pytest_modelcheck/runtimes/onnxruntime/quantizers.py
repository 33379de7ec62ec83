"""onnxruntime's own tools that make a graph smaller: int8 weights, int8 throughout, float16."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from pytest_modelcheck.runtimes.ports import Array

_ONE_FILE = 2**31 - 2**20
"""Bytes that fit into one protobuf file."""


def dynamic(source: Path, target: Path, feeds: Sequence[Mapping[str, Array]]) -> None:
    """int8 weights; activations are quantized by what each run holds. Needs no `feeds`."""
    from onnxruntime.quantization import quantize_dynamic

    with _quietly():
        quantize_dynamic(source, target, use_external_data_format=_is_large(source))


def static(source: Path, target: Path, feeds: Sequence[Mapping[str, Array]]) -> None:
    """QuantizeLinear and DequantizeLinear around int8 operators, with ranges from `feeds`."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._left = iter(feeds)

        def get_next(self) -> Mapping[str, Array] | None:
            return next(self._left, None)

    with _quietly():
        quantize_static(source, target, Reader(), use_external_data_format=_is_large(source))


def float16(source: Path, target: Path, feeds: Sequence[Mapping[str, Array]]) -> None:
    """float16 weights and operators; inputs and outputs stay as they are. Needs no `feeds`."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _quietly():
        made: Any = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    onnx.save(made, target, save_as_external_data=_is_large(source))


def _is_large(source: Path) -> bool:
    beside = source.parent.glob(f"{source.name}*")
    return sum(path.stat().st_size for path in beside) > _ONE_FILE


@contextmanager
def _quietly() -> Iterator[None]:
    """The tools advise on the root logger, whatever they are given."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
