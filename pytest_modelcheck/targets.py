"""What an optimized graph may contain. Torch-free, so that options can name the targets."""

from typing import Literal, get_args

Target = Literal["portable", "opset23", "onnxruntime", "tflite"]
"""``portable``: standard operators of the model's own opset; ``opset23``: newer standard operators, `Attention` among
them; ``onnxruntime``: contrib operators as well, `FusedConv` among them; ``tflite``: static shapes, and standard
operators for which TensorFlow Lite has built-in ones."""

TARGETS: tuple[Target, ...] = get_args(Target)
