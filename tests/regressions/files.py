"""What tools do to an exported file: one function each over its `onnx.ModelProto`."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper


class CannotBeMadeError(Exception):
    """A change that the file of this exporter has no place for."""


def _nodes(model, op):
    found = [node for node in model.graph.node if node.op_type == op]
    if not found:
        raise CannotBeMadeError(f"there is no {op}")
    return found


def _attribute(node, name):
    return next(attribute for attribute in node.attribute if attribute.name == name)


def _rename(model, old, new):
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = new if value.name == old else value.name


def ir_version(model):
    model.ir_version += 1


def opset_import(model):
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def metadata(model):
    model.metadata_props.add(key="stride", value="32")


def input_renamed(model):
    _rename(model, model.graph.input[0].name, "data")


def output_renamed(model):
    _rename(model, model.graph.output[0].name, "result")


def outputs_reordered(model):
    outputs = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend(outputs[::-1])


def output_dropped(model):
    del model.graph.output[1]


def batch_fixed(model):
    for value in (*model.graph.input, *model.graph.output):
        dim = value.type.tensor_type.shape.dim[0]
        if dim.dim_param:
            dim.dim_value = 1


def axis_renamed(model):
    for value in (*model.graph.input, *model.graph.output):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param == "batch":
                dim.dim_param = "N"


def weights_in_half(model):
    for tensor in list(model.graph.initializer):
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{tensor.name}_half")
            model.graph.initializer.remove(tensor)
            model.graph.initializer.append(half)
            model.graph.node.insert(0, helper.make_node("Cast", [half.name], [tensor.name], to=1))


def dead_initializer(model):
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((64, 64), np.float32), "left_over"))


def weight_changed(model):
    tensor = max(model.graph.initializer, key=lambda each: each.ByteSize())
    array = numpy_helper.to_array(tensor).copy()
    array.reshape(-1)[0] += 1
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def epsilon(model):
    _attribute(_nodes(model, "LayerNormalization")[0], "epsilon").f = 1e-3


def resize_coordinates(model):
    _attribute(_nodes(model, "Resize")[0], "coordinate_transformation_mode").s = b"asymmetric"


def conv_pads(model):
    _attribute(_nodes(model, "Conv")[0], "pads").ints[:] = [0, 0, 2, 2]


def contrib_operator(model):
    node = _nodes(model, "Relu")[0]
    node.domain, node.op_type = "com.microsoft", "QuickGelu"
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def constant_changed(model):
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].t.data_type == TensorProto.FLOAT:
            tensor = node.attribute[0].t
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.5), tensor.name))
            return
    raise CannotBeMadeError("there is no float constant")


def operator_exchanged(model):
    _nodes(model, "Tanh")[0].op_type = "Sigmoid"


def node_names(model):
    for number, node in enumerate(model.graph.node):
        node.name = f"n{number}"


def initializer_names(model):
    for number, tensor in enumerate(list(model.graph.initializer)):
        _rename(model, tensor.name, f"w{number}")


def operands_exchanged(model):
    node = _nodes(model, "Sub")[0]
    node.input[:] = node.input[::-1]


def layers_rewired(model):
    convolutions = [node for node in _nodes(model, "Conv") if node.name.startswith("/blocks")]
    first, second = convolutions[0], convolutions[2]
    first.input[1], second.input[1] = second.input[1], first.input[1]


def outputs_exchanged(model):
    first, second = (value.name for value in model.graph.output)
    for old, new in ((first, "tmp"), (second, first), ("tmp", second)):
        for node in model.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]


def dtype_of_an_output(model):
    output = model.graph.output[0]
    model.graph.node.append(helper.make_node("Cast", [output.name], ["narrow"], to=TensorProto.FLOAT16))
    output.name, output.type.tensor_type.elem_type = "narrow", TensorProto.FLOAT16


def input_dropped(model):
    name = model.graph.input[-1].name
    del model.graph.input[-1]
    model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 10), np.int64), name))


def axis_dynamic(model):
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def order_of_nodes(model):
    constants = [node for node in model.graph.node if node.op_type == "Constant"]
    others = [node for node in model.graph.node if node.op_type != "Constant"]
    del model.graph.node[:]
    model.graph.node.extend([*constants[::-1], *others])


def order_of_initializers(model):
    tensors = list(model.graph.initializer)
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors[::-1])


def raw_data(model):
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.FLOAT, array.shape, array.reshape(-1)))


def inner_values_renamed(model):
    kept = {value.name for value in (*model.graph.output, *model.graph.input)}
    for number, name in enumerate([name for node in model.graph.node for name in node.output if name not in kept]):
        _rename(model, name, f"v{number}")


def node_documentation(model):
    for node in model.graph.node:
        node.doc_string = "a node"


def documentation(model):
    model.doc_string, model.graph.doc_string = "a model", "a graph"


def producer(model):
    model.producer_name, model.producer_version = "another", "9"


def graph_name(model):
    model.graph.name = "another"


def value_info(model):
    del model.graph.value_info[:]


def rows(row):
    """The rows of this file."""
    changed = [
        ("encoder", "IR version raised", ir_version, ("IR version is now 9 (was 8)",)),
        ("encoder", "one more domain imported", opset_import, ("opset 1 of com.microsoft is imported now",)),
        ("encoder", "metadata added", metadata, ("metadata key `stride` is new",)),
        ("encoder", "input renamed", input_renamed, ("input `input_ids` is now `data`",)),
        ("encoder", "output renamed", output_renamed, ("output `hidden` is now `result`",)),
        ("encoder", "outputs in another order", outputs_reordered, ("in the order `pooled`, `hidden`",)),
        ("encoder", "output dropped", output_dropped, ("output `pooled` is gone",)),
        ("encoder", "batch fixed", batch_fixed, ("axis 0 of input `input_ids` (batch) is now fixed at 1",)),
        ("encoder", "axis renamed", axis_renamed, ("dynamic axis `batch` is now `N`",)),
        ("encoder", "weights stored in half", weights_in_half, ("initializers of float16 now take",)),
        ("encoder", "an initializer nothing reads", dead_initializer, ("initializers of float32 now take",)),
        ("encoder", "one weight changed", weight_changed, ("words.weight",)),
        ("encoder", "epsilon changed", epsilon, ("LayerNormalization(epsilon 1e-12 -> 0.001)",)),
        ("encoder", "a constant changed", constant_changed, ("->",)),
        ("encoder", "an activation exchanged", operator_exchanged, ("+1 Sigmoid, -1 Tanh",)),
        ("encoder", "weights named by a counter", initializer_names, ("weights are now named w# (were by-module)",)),
        ("encoder", "operands exchanged", operands_exchanged, ("computed by other operators, constants or wiring",)),
        ("encoder", "outputs exchanged under their names", outputs_exchanged, ("hidden, pooled: computed by other",)),
        ("encoder", "an output in half", dtype_of_an_output, ("output `hidden` is gone",)),
        ("encoder", "an input became a constant", input_dropped, ("input `attention_mask` is gone",)),
        ("encoder", "nodes renamed", node_names, ("nodes are now named n# (were /...)",)),
        ("resnet", "weights exchanged between blocks", layers_rewired, ("logits, mask: computed by other",)),
        ("resnet", "an axis made dynamic", axis_dynamic, ("axis 2 of input `image` is now dynamic (height",)),
        ("resnet", "coordinates of Resize", resize_coordinates, ("coordinate_transformation_mode=asymmetric",)),
        ("resnet", "pads of a convolution", conv_pads, ("Conv(pads 1|1|1|1 -> 0|0|2|2)",)),
        ("resnet", "an operator of another domain", contrib_operator, ("com.microsoft:QuickGelu",)),
        ("resnet", "IR version raised", ir_version, ("IR version is now 9 (was 8)",)),
        ("resnet", "batch fixed", batch_fixed, ("axis 0 of input `image` (batch) is now fixed at 1",)),
        ("resnet", "output renamed", output_renamed, ("output `logits` is now `result`",)),
    ]
    harmless = [
        ("encoder", "documentation", documentation),
        ("encoder", "producer", producer),
        ("encoder", "name of the graph", graph_name),
        ("encoder", "shapes of inner values left out", value_info),
        ("resnet", "producer", producer),
        ("encoder", "constants in another order", order_of_nodes),
        ("encoder", "initializers in another order", order_of_initializers),
        ("encoder", "weights stored in another field", raw_data),
        ("encoder", "inner values renamed", inner_values_renamed),
        ("encoder", "documentation of nodes", node_documentation),
        ("resnet", "initializers in another order", order_of_initializers),
        ("resnet", "inner values renamed", inner_values_renamed),
    ]
    return (
        *(row(model=m, name=f"file: {n}", file=f, words=w) for m, n, f, w in changed),
        *(row(model=m, name=f"file: {n}", file=f, verdict="harmless") for m, n, f in harmless),
    )
