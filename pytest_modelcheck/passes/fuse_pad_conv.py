"""``fuse_pad_conv``: ``Conv(Pad(x, p)) -> Conv(x)`` with p added to the padding of the Conv.

1. The Pad writes zeros (mode ``constant``), by constant amounts that are not negative, on spatial axes only.
2. The Conv pads by explicit amounts (``auto_pad`` is NOTSET) or not at all (VALID), and is all that reads the Pad.

TensorFlow-style models pad unevenly before every strided Conv. Pools are left alone: a zero is not neutral for a
MaxPool, and an AveragePool counts its own padding in another way. Source: https://onnx.ai/onnx/operators/onnx__Conv.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from pytest_modelcheck.passes.attributes import text_attribute
from pytest_modelcheck.passes.rewriting import Pass, Rewriter

Pads = tuple[tuple[int, int], ...]
"""(before, after) for each axis."""


@dataclass(frozen=True)
class FusePadConv(Pass):
    name: ClassVar[str] = "fuse_pad_conv"

    def rewrite(self, rewriter: Rewriter) -> None:
        for node in rewriter.nodes("Conv"):
            _try_fuse(rewriter, node)


def _try_fuse(rewriter: Rewriter, conv: ir.Node) -> bool:
    value = conv.inputs[0]
    pad = None if value is None else value.producer()
    if value is None or pad is None or pad.op_type != "Pad" or pad.domain != "":
        return False
    if not rewriter.only_use(value):
        return rewriter.refuse("the padded tensor is read by something else too", conv)
    if text_attribute(pad, "mode", "constant") != "constant":
        return rewriter.refuse("the Pad does not pad with a constant", conv)
    auto_pad = text_attribute(conv, "auto_pad", "NOTSET")
    if auto_pad not in ("NOTSET", "VALID"):
        return rewriter.refuse("the Conv computes its padding from the size of its input", conv)
    if not _writes_zeros(rewriter, pad):
        return rewriter.refuse("the Pad writes something else than zeros", conv)
    pads = _pads(rewriter, pad)
    if pads is None:
        return rewriter.refuse("how much is padded is not constant", conv)
    if any(pads[0]) or any(pads[1]):
        return rewriter.refuse("the batch or the channels are padded", conv)
    if any(amount < 0 for axis in pads for amount in axis):
        return rewriter.refuse("the Pad cuts", conv)
    own = conv.attributes.get("pads")
    if own is not None and own.is_ref():
        return rewriter.refuse("the padding of the Conv is an attribute of its function", conv)
    amounts = [axis[end] for end in (0, 1) for axis in pads[2:]]
    before = [0] * len(amounts) if own is None or auto_pad == "VALID" else list(own.as_ints())
    conv.attributes.pop("auto_pad", None)
    conv.attributes["pads"] = ir.AttrInt64s("pads", [a + b for a, b in zip(before, amounts, strict=True)])
    rewriter.absorb(pad, into=conv)
    rewriter.set_input(conv, 0, pad.inputs[0])
    rewriter.edited()
    return True


def _writes_zeros(rewriter: Rewriter, pad: ir.Node) -> bool:
    attribute = pad.attributes.get("value")  # before opset 11
    if attribute is not None:
        return not attribute.is_ref() and attribute.as_float() == 0
    if len(pad.inputs) < 3 or pad.inputs[2] is None:
        return True
    fill = rewriter.constant(pad.inputs[2])
    return fill is not None and fill.size == 1 and not fill.item()


def _pads(rewriter: Rewriter, pad: ir.Node) -> Pads | None:
    attribute = pad.attributes.get("pads")
    if attribute is not None:  # before opset 11
        amounts = None if attribute.is_ref() else list(attribute.as_ints())
    else:
        array = rewriter.constant(pad.inputs[1])
        amounts = None if array is None else [int(amount) for amount in array.reshape(-1)]
    shape = pad.outputs[0].shape
    if amounts is None or shape is None:
        return None
    axes = list(range(len(shape)))
    if len(pad.inputs) > 3 and pad.inputs[3] is not None:
        given = rewriter.constant(pad.inputs[3])
        if given is None:
            return None
        axes = [int(axis) % len(shape) for axis in given.reshape(-1)]
    if len(amounts) != 2 * len(axes):
        return None
    both = dict(zip(axes, zip(amounts[: len(axes)], amounts[len(axes) :], strict=True), strict=True))
    return tuple(both.get(axis, (0, 0)) for axis in range(len(shape)))
