"""The faults that are planted: into BERT, a Whisper decoder and a ResNet; each where its graph has a place for it."""

import ml_dtypes
import numpy as np

from tests.accuracy.planting import (
    Fault,
    attribute,
    bypass,
    element,
    insert,
    nodes,
    on_bias,
    on_input,
    on_mask,
    on_node,
    on_residual,
    on_weight,
    rename,
    set_input,
    siblings,
    swap_inputs,
    weight_index,
    weighted,
)

F32 = np.float32


def thousandth(value):
    return value * F32(1.001)


def square(array):
    return array.ndim == 2 and array.shape[0] == array.shape[1]


def swapped(axis):
    def edit(array):
        order = np.arange(array.shape[axis])
        order[[0, 1]] = order[[1, 0]]
        return np.take(array, order, axis=axis)

    return edit


def rounded_to(dtype):
    return lambda array: array.astype(dtype).astype(array.dtype)


def int8_steps(array):
    step = np.abs(array).max() / 127
    return (np.round(array / step) * step).astype(array.dtype)


def zero_first(array):
    array[0] = 0
    return array


def of_another_layer(model):
    """A node gets the weight of a later node of the same operator and shape."""
    found = weighted(model, "MatMul", "Conv", "Gemm")
    for first in found[len(found) // 3 :]:
        index = weight_index(first)
        value = first.inputs[index]
        for second in reversed(found):
            other = second.inputs[weight_index(second)]
            if second.op_type == first.op_type and other is not value and tuple(other.shape) == tuple(value.shape):
                first.replace_input_with(index, other)
                return first
    return None


def norm_of_another_layer(model):
    found = nodes(model, "LayerNormalization")
    if len(found) < 3:
        return None
    for index in (1, 2):
        found[1].replace_input_with(index, found[-1].inputs[index])
    return found[1]


def scale_and_bias_exchanged(model, node):
    scale, bias = node.inputs[1], node.inputs[2]
    node.replace_input_with(1, bias)
    node.replace_input_with(2, scale)


def scalar_scale(model):
    """A Mul or Div by one number: the scale of the attention."""
    for node in nodes(model, "Mul", "Div"):
        for index, value in enumerate(node.inputs):
            if value.is_initializer() and value.const_value.size == 1 and value.const_value.dtype.is_floating_point():
                set_input(model, node, index, value.const_value.numpy() * F32(1.01))
                return node
    return None


def other_token(model):
    """The pooler reads the second token instead of the first."""

    def picks_one(node):
        data, index = node.inputs[0], node.inputs[1]
        hidden = data.producer() is not None and data.shape is not None and len(data.shape) == 3
        return hidden and index.is_initializer() and index.const_value.size == 1

    found = [node for node in nodes(model, "Gather") if picks_one(node)]
    if not found:
        return None
    set_input(model, found[0], 1, found[0].inputs[1].const_value.numpy() + 1)
    return found[0]


def reads_the_value_projection(model):
    """The scores are made of the query and the value: the key's MatMul reads its sibling's weight."""
    return siblings(model, 1, 2)


def position_off_by_one(model):
    """In the table that positions are looked up in, or in its rows, where the exporter has looked them up."""
    if len(weighted(model, "Gather")) > 1:
        return on_weight(lambda w: np.roll(w, 1, axis=0), "Gather", at=1)(model)
    for node in weighted(model, "Add"):
        index = weight_index(node)
        rows = node.inputs[index].const_value.numpy()
        moved = np.roll(rows, 1, axis=-2)
        if not np.array_equal(rows, moved):
            set_input(model, node, index, moved)
            return node
    return None


def same_padding(node):
    return list(node.attributes.get_ints("pads", [])) == [1, 1, 1, 1]


def has_weight(node):
    return weight_index(node) is not None


def nan_in_one_channel(model, node):
    weight = node.inputs[weight_index(node)]
    channels = weight.shape[-1] if node.op_type == "MatMul" else weight.shape[0]
    vector = np.zeros(channels, np.float32)
    vector[channels // 2] = np.nan
    return insert("Add", vector if node.op_type == "MatMul" else vector[:, None, None])(model, node)


def other_pooling(model, node):
    node.op_type = "AveragePool"
    node.attributes.pop("storage_order", None)


def other_reduction(model, node):
    node.op_type = "ReduceMax"


WEIGHTS = {
    "one weight off by a thousandth": on_weight(element(0.4, thousandth)),
    "one weight off by a thousandth, first layer": on_weight(element(0.4, thousandth), at=0),
    "one weight off by a thousandth, last layer": on_weight(element(0.4, thousandth), at=1),
    "one weight with another sign": on_weight(element(0.3, lambda w: -w)),
    "one weight doubled": on_weight(element(0.6, lambda w: 2 * w)),
    "one weight zeroed": on_weight(element(0.7, lambda w: F32(0))),
    "NaN in one weight": on_weight(element(0.5, lambda w: F32(np.nan))),
    "infinity in one weight": on_weight(element(0.5, lambda w: F32(np.inf))),
    "all weights of a layer off by a thousandth": on_weight(lambda w: w * F32(1.001), at=0.6),
    "transposed weight": on_weight(lambda w: w.T, "MatMul", "Gemm", needs=square),
    "two rows of a weight exchanged": on_weight(swapped(0)),
    "two columns of a weight exchanged": on_weight(swapped(1)),
    "a weight rounded to float16": on_weight(rounded_to(np.float16)),
    "a weight rounded to bfloat16": on_weight(rounded_to(ml_dtypes.bfloat16)),
    "a weight rounded to int8 steps": on_weight(int8_steps),
    "a channel zeroed": on_weight(zero_first, at=0.3),
    "the weight of another layer": of_another_layer,
    "query and key exchanged": lambda model: siblings(model, 0, 1),
    "query and value exchanged": lambda model: siblings(model, 0, 2),
    "key and value exchanged": reads_the_value_projection,
    "bias dropped": on_bias(np.zeros_like),
    "bias shifted by one": on_bias(lambda b: np.roll(b, 1)),
    "bias with another sign": on_bias(lambda b: -b, at=0.7),
    "one element of a bias off by a thousandth": on_bias(element(0.5, thousandth), at=0.3),
    "word table off by one": on_weight(lambda w: np.roll(w, 1, axis=0), "Gather", at=0),
    "one row of the word table off by a thousandth": on_weight(
        lambda w: np.concatenate([w[:-1], w[-1:] * F32(1.001)]), "Gather", at=0
    ),
    "position table off by one": position_off_by_one,
    "scale of a norm off by a thousandth": on_input(lambda w: w * F32(1.001), "LayerNormalization", 1),
    "one element of a norm's scale off by a thousandth": on_input(element(0.5, thousandth), "LayerNormalization", 1),
    "bias of a norm dropped": on_input(np.zeros_like, "LayerNormalization", 2),
    "the norm of another layer": norm_of_another_layer,
    "red and blue exchanged": on_weight(
        lambda w: w[:, ::-1], "Conv", at=0, needs=lambda w: w.ndim == 4 and w.shape[1] == 3
    ),
    "a kernel turned around": on_weight(lambda w: w[..., ::-1, ::-1], "Conv", ndim=4, needs=lambda w: w.shape[-1] == 3),
    "height and width of a kernel exchanged": on_weight(
        lambda w: w.swapaxes(-1, -2), "Conv", ndim=4, needs=lambda w: w.shape[-1] == 3
    ),
    "a folded norm off by 5e-4 in every channel": on_weight(lambda w: w * F32(1.0005), "Conv", ndim=4),
    "classes off by one": on_weight(lambda w: np.roll(w, 1, axis=0), "Gemm", at=1),
}

NODES = {
    "epsilon of a norm changed": on_node(attribute(epsilon=1e-3), "LayerNormalization"),
    "epsilon of the first norm 1e-12 taken for 1e-5": on_node(attribute(epsilon=1e-4), "LayerNormalization", at=0),
    "a norm over the wrong axis": on_node(attribute(axis=-2), "LayerNormalization", at=0.99),
    "scale and bias of a norm exchanged": on_node(scale_and_bias_exchanged, "LayerNormalization"),
    "a norm left out": on_node(bypass(), "LayerNormalization", at=0.4),
    "softmax over the wrong axis": on_node(attribute(axis=-2), "Softmax"),
    "softmax taken for its logarithm": on_node(rename("LogSoftmax", axis=-1), "Softmax"),
    "gelu taken for its tanh form": on_node(attribute(approximate="tanh"), "Gelu"),
    "gelu taken for relu": on_node(rename("Relu"), "Gelu"),
    "tanh taken for a sigmoid": on_node(rename("Sigmoid"), "Tanh"),
    "relu left out": on_node(bypass(), "Relu"),
    "relu taken for a leaky one": on_node(rename("LeakyRelu", alpha=0.01), "Relu"),
    "relu that ends at 1": on_node(insert("Clip", F32(0), F32(1)), "Relu", at=0.2),
    "residual subtracted": on_residual(lambda model, node: rename("Sub")(model, node)),
    "residual multiplied": on_residual(lambda model, node: rename("Mul")(model, node)),
    "residual left out": on_residual(bypass(0)),
    "layer left out": on_residual(bypass(1), at=0.7),
    "mask left out": on_mask(bypass(0)),
    "mask subtracted": on_mask(lambda model, node: rename("Sub")(model, node)),
    "operands of a product exchanged": on_node(
        swap_inputs,
        "MatMul",
        needs=lambda node: weight_index(node) is None and node.outputs[0].uses()[0].node.op_type == "Softmax",
    ),
    "scale of the attention off by a hundredth": scalar_scale,
    "the second token read instead of the first": other_token,
    "NaN in one channel of the values": on_node(nan_in_one_channel, "MatMul", "Conv", needs=has_weight),
    "maximum taken for an average": on_node(other_pooling, "MaxPool"),
    "padding on the wrong side": on_node(attribute(pads=[0, 0, 2, 2]), "Conv", needs=same_padding),
    "dilated kernel": on_node(
        attribute(dilations=[2, 2], pads=[2, 2, 2, 2]),
        "Conv",
        needs=same_padding,
    ),
    "average taken for a maximum": on_node(other_reduction, "ReduceMean"),
    "values off by a thousandth": on_node(insert("Mul", F32(1.001)), *("MatMul", "Conv"), at=0.6),
    "values shifted by a thousandth": on_node(insert("Add", F32(1e-3)), *("Gelu", "Relu"), at=0.6),
    "values rounded to float16": on_node(
        insert("Cast", before=[("Cast", (), {"to": 10})], to=1), *("MatMul", "Conv"), at=0.4
    ),
    "values rounded to bfloat16": on_node(
        insert("Cast", before=[("Cast", (), {"to": 16})], to=1), *("MatMul", "Conv"), at=0.5
    ),
    "negative values cut": on_node(insert("Relu"), *("MatMul", "Conv"), at=0.8),
    "values cut at 0.5": on_node(insert("Clip", F32(-0.5), F32(0.5)), *("MatMul", "Conv"), at=0.2),
}

FAULTS = tuple(
    Fault(name, plant, kind)
    for kind, plants in (("weight", WEIGHTS), ("node", NODES))
    for name, plant in plants.items()
)
