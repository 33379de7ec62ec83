"""What an optimized graph may contain. Torch-free, so that options can name the targets."""

from typing import Literal, get_args

Target = Literal["portable", "opset23", "onnxruntime"]
"""``portable``: standard operators of the model's own opset; ``opset23``: newer standard operators, `Attention` among
them; ``onnxruntime``: contrib operators as well, `FusedConv` among them."""

TARGETS: tuple[Target, ...] = get_args(Target)
