"""A graph of less precision beside the one that it was made of: what its outputs lost, and in which layer."""

from pytest_modelcheck.quantization.loss import LayerLoss, Quantized, compare_quantized
from pytest_modelcheck.quantization.noise import Noise
from pytest_modelcheck.quantization.tools import QUANTIZERS, quantizer_named

__all__ = ["QUANTIZERS", "LayerLoss", "Noise", "Quantized", "compare_quantized", "quantizer_named"]
