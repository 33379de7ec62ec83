"""What rounding to int8 makes of equal graphs: the numbers behind the tolerance ``int8-quantized``.

Four float models are quantized by onnxruntime's own tool (QDQ, weights per tensor and per channel). `kernels`: the file
under onnxruntime's optimizer, which computes in integers, against the file as it is written; `passes`: the graph after
the default pipeline against it, both as they are written. Both are the largest difference of any input, as a share of
the output's magnitude.

    python -m benchmarks.quantized_rounding [--inputs 30]
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from torch import nn

from pytest_modelcheck.pipeline import optimize
from pytest_modelcheck.runtimes import How, open_session

Draw = Callable[[int], torch.Tensor]


def drawn(*shape: int) -> Draw:
    return lambda seed: torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def models() -> dict[str, tuple[nn.Module, Draw]]:
    layers = [layer for _ in range(12) for layer in (nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU())]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu")
    return {
        "mlp": (nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 16)), drawn(4, 64)),
        "conv": (
            nn.Sequential(nn.Conv2d(3, 16, 3), nn.SiLU(), nn.Conv2d(16, 32, 3), *head, nn.Linear(32, 10)),
            drawn(1, 3, 32, 32),
        ),
        "deep conv": (nn.Sequential(nn.Conv2d(3, 24, 3), *layers, *head, nn.Linear(24, 10)), drawn(1, 3, 32, 32)),
        "encoder": (nn.TransformerEncoder(block, 4, enable_nested_tensor=False), drawn(2, 12, 32)),
    }


class Calibration(CalibrationDataReader):
    def __init__(self, draw: Draw) -> None:
        self.left = iter([{"x": draw(1000 + seed).numpy()} for seed in range(4)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


def quantized(model: nn.Module, draw: Draw, folder: Path, per_channel: bool) -> ir.Model:
    source, target = folder / "float.onnx", folder / "int8.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(), (draw(0),), str(source), dynamo=False, opset_version=17, input_names=["x"], output_names=["y"]
        )
    quantize_static(source, target, Calibration(draw), quant_format=QuantFormat.QDQ, per_channel=per_channel)
    return ir.load(target)


def moved(left: ir.Model, right: ir.Model, how: How, draw: Draw, inputs: int) -> float:
    """The largest difference of the second graph from the first, as a share of the first one's magnitude."""
    sessions = open_session(left, How(), name="left"), open_session(right, how, name="right")
    shares = []
    for seed in range(inputs):
        one, other = (next(iter(session.run({"x": draw(seed).numpy()}).values())) for session in sessions)
        shares.append(float(np.abs(one - other).max() / np.abs(one).max()))
    return max(shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=30)
    inputs = parser.parse_args().inputs
    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)
    print(f"{'model':<12}{'weights':<14}{'kernels':>10}{'passes':>10}")
    for name, (model, draw) in models().items():
        for per_channel in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                graph = quantized(model, draw, Path(folder), per_channel)
                kernels = moved(graph, graph, How(optimizer=True), draw, inputs)
                passes = moved(graph, optimize(graph), How(), draw, inputs)
            print(f"{name:<12}{'per channel' if per_channel else 'per tensor':<14}{kernels:>10.1e}{passes:>10.1e}")


if __name__ == "__main__":
    main()
