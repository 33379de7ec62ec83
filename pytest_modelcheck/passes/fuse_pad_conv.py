"""``fuse_pad_conv``: a Pad whose only reader is a Conv or a MaxPool becomes padding of that reader.

    conv  Conv(Pad(x, p)) -> Conv(x), where the Pad writes zeros
    pool  MaxPool(Pad(x, p)) -> MaxPool(x), where the Pad writes -infinity, which no maximum takes

1. The amounts are constant, not negative, and on spatial axes only (mode ``constant``).
2. The reader pads by explicit amounts (``auto_pad`` is NOTSET) or not at all (VALID), and is all that reads the Pad.
3. A MaxPool gives no indices (they count the padded elements), has no dilation, does not round sizes up, and its kernel
   is larger than the padding at each end: so every window holds an element of x.

TensorFlow-style models pad unevenly before every strided Conv and pool. Other padding is no part of a MaxPool (zeros
are not neutral), and an AveragePool counts its own padding in another way.
Sources: https://onnx.ai/onnx/operators/onnx__Conv.html, https://onnx.ai/onnx/operators/onnx__MaxPool.html
"""

from __future__ import annotations

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import float_attribute, integer_attribute, integers_attribute, text_attribute
from pytest_modelcheck.graph.readers import read_once
from pytest_modelcheck.rewriting import Pass, Rewriter
from pytest_modelcheck.rewriting.matching import produced_by
from pytest_modelcheck.shapes.dims import are_numbers
from pytest_modelcheck.shapes.known import Facts, Unknown
from pytest_modelcheck.shapes.slices import pads_of

_NEUTRAL = {"Conv": (0.0, "zeros"), "MaxPool": (float("-inf"), "-infinity")}
"""Reader -> the value that its own padding amounts to, and the words for it."""


class FusePadConv(Pass):
    name = "fuse_pad_conv"
    rules = ("conv", "pool")

    def rewrite(self, rewriter: Rewriter) -> None:
        for node in rewriter.nodes("Conv", "MaxPool"):
            rewriter.begin_rule("conv" if node.op_type == "Conv" else "pool")
            _try_fuse(rewriter, node)


def _try_fuse(rewriter: Rewriter, reader: ir.Node) -> bool:
    value = reader.inputs[0]
    pad = produced_by(value, "Pad")
    if value is None or pad is None:
        return False
    if not read_once(value):
        return rewriter.refuse("the padded tensor is read by something else too", reader)
    if text_attribute(pad, "mode", "constant") != "constant":
        return rewriter.refuse("the Pad does not pad with a constant", reader)
    auto_pad = text_attribute(reader, "auto_pad", "NOTSET")
    if auto_pad not in ("NOTSET", "VALID"):
        return rewriter.refuse(f"the {reader.op_type} computes its padding from the size of its input", reader)
    neutral, called = _NEUTRAL[reader.op_type]
    if not _writes(rewriter, pad, neutral):
        return rewriter.refuse(f"the Pad writes something else than {called}", reader)
    try:
        pads = pads_of(Facts(pad, rewriter.shapes()))
    except Unknown:
        pads = []
    amounts = [axis[end] for end in (0, 1) for axis in pads]
    if not pads or not are_numbers(amounts):
        return rewriter.refuse("how much is padded is not constant", reader)
    if any(pads[0]) or any(pads[1]):
        return rewriter.refuse("the batch or the channels are padded", reader)
    if any(isinstance(amount, int) and amount < 0 for amount in amounts):
        return rewriter.refuse("the Pad cuts", reader)
    own = integers_attribute(reader, "pads", ())
    if own is None:
        return rewriter.refuse(f"the padding of the {reader.op_type} is an attribute of its function", reader)
    added = [amount for end in (0, 1) for axis in pads[2:] if isinstance(amount := axis[end], int)]
    before = [0] * len(added) if not own or auto_pad == "VALID" else own
    total = [a + b for a, b in zip(before, added, strict=True)]
    if reader.op_type == "MaxPool" and (reason := _not_the_same_maximum(reader, total)):
        return rewriter.refuse(reason, reader)
    rewriter.set_attributes(reader, {"auto_pad": None, "pads": total})
    rewriter.absorb(pad, into=reader)
    rewriter.set_input(reader, 0, pad.inputs[0])
    rewriter.edited()
    return True


def _not_the_same_maximum(pool: ir.Node, pads: list[int]) -> str:
    """Why the maxima, or what is known of them, could differ once `pool` pads by `pads`; empty where they cannot."""
    if len(pool.outputs) > 1 and pool.outputs[1].name:
        return "the indices of the maxima count the padded elements"
    kernel, dilations = integers_attribute(pool, "kernel_shape"), integers_attribute(pool, "dilations", ())
    ceil_mode = integer_attribute(pool, "ceil_mode", 0)
    if kernel is None or ceil_mode is None or dilations is None:
        return "the windows of the MaxPool are an attribute of its function"
    if ceil_mode:
        return "the MaxPool rounds sizes up: a window may begin in the padding"
    if any(step != 1 for step in dilations):
        return "the MaxPool is dilated: a window may hold padding only"
    if any(amount >= size for amount, size in zip(pads, kernel * 2, strict=True)):
        return "the padding is as large as the kernel: a window may hold padding only"
    return ""


def _writes(rewriter: Rewriter, pad: ir.Node, wanted: float) -> bool:
    if "value" in pad.attributes:  # before opset 11
        return float_attribute(pad, "value", 0.0) == wanted
    if len(pad.inputs) < 3 or pad.inputs[2] is None:
        return wanted == 0
    fill = rewriter.constant(pad.inputs[2])
    return fill is not None and fill.size == 1 and bool(fill.item() == wanted)
