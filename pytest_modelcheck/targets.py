"""What an optimized graph may contain. Torch-free, so that options can name the targets."""

from typing import Literal, get_args

Target = Literal["portable", "opset23", "onnxruntime", "tflite"]
"""What the names mean:

- ``portable``: standard operators of the model's own opset.
- ``opset23``: newer standard operators, `Attention` among them.
- ``onnxruntime``: those, and contrib operators before them, `FusedConv` among them. The opset is raised only for an
  operator that is written: to 17 or 20, or to 23, which onnxruntime reads from 1.23 on, for an `RMSNormalization` or
  `Attention` that no contrib operator replaces.
- ``tflite``: static shapes, and standard operators for which TensorFlow Lite has built-in ones.
"""

TARGETS: tuple[Target, ...] = get_args(Target)
