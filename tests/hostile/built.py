# ruff: noqa: E501 - the rows are a table
"""Files that somebody built to do harm: name -> a function that gives their content, each small to write."""

import functools

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.bases import OPSETS, bases, graph_of, model_around, model_of

MIB = 2**20
FILES = {}


def file(name, *variants):
    """Register a maker; with variants once for each, which it takes as its arguments."""

    def register(make):
        for variant in variants or ((),):
            values = variant if isinstance(variant, tuple) else (variant,)
            label = f"{name}: {', '.join(map(_short, values))}" if values else name
            assert label not in FILES, label
            FILES[label] = functools.partial(make, *values)
        return make

    return register


def _short(value):
    text = ascii(value)
    return text if len(text) < 40 else f"{text[:24]}...({len(text)})"


def changed(base, edit):
    """A sound model after an edit of its message."""
    model = onnx.ModelProto.FromString(bases()[base])
    edit(model)
    return model.SerializeToString()


def ints(*values):
    return np.array(values, np.int64)


# -- names ---------------------------------------------------------------------------------------------------------

NAMES = (
    "\x1b[31mred\x1b[0m", "a\nb", "\n::error::x", "::error file=a::b", "a\x00b", "\u202eevil", "\ufeff", "a" * 100_000, " ",
    "../../etc/passwd", "${HOME}", "<script>alert(1)</script>", "```", "|", "%0A::error::x", "a\r\nb",
)  # fmt: skip


@file("names of nodes", *NAMES)
def _(name):
    def edit(model):
        for node in model.graph.node:
            node.name = name

    return changed("net", edit)


@file("names of values", *NAMES)
def _(name):
    return model_of(
        [helper.make_node("Relu", ["x"], [name]), helper.make_node("Neg", [name], ["y"])]
    ).SerializeToString()


@file("names of inputs", *NAMES)
def _(name):
    nodes = [helper.make_node("Relu", [name], ["y"])]
    return model_of(nodes, inputs=(name,)).SerializeToString()


@file("names of weights", *NAMES)
def _(name):
    nodes = [helper.make_node("Add", ["x", name], ["y"])]
    return model_of(nodes, weights={name: np.ones((2, 3), np.float32)}).SerializeToString()


@file("names of operators", *NAMES[:8])
def _(name):
    return model_of([helper.make_node(name, ["x"], ["y"], domain="mine")]).SerializeToString()


@file("names of dimensions", *NAMES, "batch*", "1", "a-b", "max(a, b)", "a" + "+a" * 3000, "2**99999", "(" * 2000)
def _(name):
    return model_of([helper.make_node("Relu", ["x"], ["y"])], shape=(name, 3)).SerializeToString()


@file("keys of metadata", *NAMES[:6])
def _(key):
    return changed("net", lambda model: model.metadata_props.add(key=key, value=key))


@file("metadata of nodes", *NAMES[:6], "[", "['a'", "[" * 5000, "{}", "[1, 2]", "['" + "a'," * 9 + "]")
def _(text):
    def edit(model):
        for node in model.graph.node:
            for key in ("pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy", "pkg.torch.onnx.stack_trace",
                        "namespace", "pytest_modelcheck.owner", "pytest_modelcheck.kind",
                        "pytest_modelcheck.contributors", "pytest_modelcheck.call"):  # fmt: skip
                node.metadata_props.add(key=key, value=text)

    return changed("net", edit)


@file(
    "a name that is not UTF-8",
    "node",
    "value",
    "weight",
    "graph",
    "producer",
    "dimension",
    "metadata",
    "domain",
    "metadata of a node",
    "metadata of the graph",
    "doc",
    "doc of a node",
    "version",
    "metadata of a value",
)
def _(where):
    mark = "ZZZZ"

    def edit(model):
        graph = model.graph
        if where == "node":
            graph.node[0].name = mark
        elif where == "value":
            graph.node[0].output[0] = graph.node[1].input[0] = mark
        elif where == "weight":
            graph.initializer[0].name = graph.node[0].input[1] = mark
        elif where == "graph":
            graph.name = mark
        elif where == "producer":
            model.producer_name = mark
        elif where == "dimension":
            graph.input[0].type.tensor_type.shape.dim[0].dim_param = mark
        elif where == "metadata":
            model.metadata_props.add(key=mark, value=mark)
        elif where == "metadata of a node":
            graph.node[0].metadata_props.add(key="a", value=mark)
        elif where == "metadata of the graph":
            graph.metadata_props.add(key="a", value=mark)
        elif where == "metadata of a value":
            graph.input[0].metadata_props.add(key=mark, value="a")
        elif where == "doc":
            model.doc_string = mark
        elif where == "doc of a node":
            graph.node[0].doc_string = mark
        elif where == "version":
            model.producer_version = mark
        else:
            model.opset_import.add(domain=mark, version=1)

    return changed("net", edit).replace(mark.encode(), b"\xff\xfeZ\x80")


# -- numbers -------------------------------------------------------------------------------------------------------


@file("ir_version", 0, -1, 1, 2**31, 2**40, 2**63 - 1, -(2**63))
def _(version):
    return changed("net", lambda model: setattr(model, "ir_version", version))


@file("opset version", 0, -1, 1, 999, 2**31, 2**63 - 1)
def _(version):
    return changed("net", lambda model: setattr(model.opset_import[0], "version", version))


@file("opset imports", "none", "twice", "unknown", "twice differently", "of an empty function")
def _(how):
    def edit(model):
        if how == "none":
            del model.opset_import[:]
        elif how == "twice":
            model.opset_import.add(domain="", version=18)
        elif how == "unknown":
            model.opset_import.add(domain="nobody.knows", version=3)
        elif how == "twice differently":
            model.opset_import.add(domain="ai.onnx", version=9)
        else:
            del model.functions[0].opset_import[:]

    return changed("function" if how == "of an empty function" else "net", edit)


@file("dtype of a weight", 0, -1, 8, 99, 2**30, 16, 17, 21, 22, 23, 24, 25)
def _(dtype):
    return changed("net", lambda model: setattr(model.graph.initializer[0], "data_type", dtype))


@file("dtype of an input", 0, -1, 8, 99, 2**30)
def _(dtype):
    return changed("net", lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", dtype))


@file("target of a Cast", 0, -1, 8, 99, 2**40)
def _(dtype):
    return model_of([helper.make_node("Cast", ["x"], ["y"], to=dtype)]).SerializeToString()


@file("dims of a weight", (2**62, 4), (-1, 4), (0, 2**62), (2**31, 2**31, 2**31), (1,) * 3000, (2**40,))
def _(*dims):
    def edit(model):
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(dims)

    return changed("net", edit)


@file("dims of an input", (2**62, 3), (-1, 3), (0, 3), (2**31, 2**31, 2**31), (1,) * 3000, (2**40,), ())
def _(*dims):
    return model_of([helper.make_node("Relu", ["x"], ["y"])], shape=dims).SerializeToString()


@file("weight data", "too short", "too long", "none", "of two kinds", "of another kind", "a segment")
def _(how):
    def edit(model):
        tensor = model.graph.initializer[0]
        if how == "too short":
            tensor.raw_data = tensor.raw_data[:-1]
        elif how == "too long":
            tensor.raw_data += b"\0"
        elif how == "none":
            tensor.ClearField("raw_data")
        elif how == "of two kinds":
            tensor.float_data.append(1.0)
        elif how == "of another kind":
            tensor.ClearField("raw_data")
            tensor.string_data.append(b"x")
        else:
            tensor.segment.begin, tensor.segment.end = 0, 2**40

    return changed("net", edit)


LOCATIONS = (
    "..",
    "../x",
    "/etc/passwd",
    "a\x00b",
    "",
    ".",
    "a" * 5000,
    "\x1b[31m",
    "/dev/zero",
    "/proc/self/mem",
    "a\nb",
)


def _outside(tensor, location, offset="0", length="288"):
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=value)


@file("location of data", *LOCATIONS)
def _(location):
    return changed("net", lambda model: _outside(model.graph.initializer[0], location))


@file("location of a Constant's data", *LOCATIONS[:6])
def _(location):
    tensor = numpy_helper.from_array(np.ones((2, 3), np.float32), "c")
    _outside(tensor, location, length="24")
    nodes = [helper.make_node("Constant", [], ["c"], value=tensor), helper.make_node("Add", ["x", "c"], ["y"])]
    return model_of(nodes).SerializeToString()


@file(
    "place of data",
    ("-1", "4"),
    ("x", "4"),
    ("0", "-1"),
    (str(2**70), "4"),
    ("0", str(2**62)),
    ("1e3", "1"),
    (None, None),
)
def _(offset, length):
    return changed("net", lambda model: _outside(model.graph.initializer[0], "file.onnx", offset, length))


# -- structure -----------------------------------------------------------------------------------------------------


@file("a cycle", 1, 2, 5)
def _(size):
    nodes = [helper.make_node("Add", ["x", f"v{(i + 1) % size}"], [f"v{i}"]) for i in range(size)]
    return model_of([*nodes, helper.make_node("Relu", ["v0"], ["y"])]).SerializeToString()


@file("names used twice", "value", "input", "output", "weight", "node", "input and value", "in a branch")
def _(what):
    relu, neg = helper.make_node("Relu", ["x"], ["a"], name="n"), helper.make_node("Neg", ["a"], ["y"], name="m")
    if what == "value":
        return model_of([relu, helper.make_node("Neg", ["x"], ["a"]), neg]).SerializeToString()
    if what == "node":
        neg.name = "n"
        return model_of([relu, neg]).SerializeToString()
    if what == "input and value":
        return model_of(
            [helper.make_node("Relu", ["x"], ["x"]), helper.make_node("Neg", ["x"], ["y"])]
        ).SerializeToString()
    if what == "in a branch":

        def edit(model):
            model.graph.node[2].attribute[0].g.node[0].output[0] = "s"
            model.graph.node[2].attribute[0].g.output[0].name = "s"

        return changed("branches", edit)
    if what == "weight":
        return changed("net", lambda model: model.graph.initializer.append(model.graph.initializer[0]))
    model = model_of([relu, neg])
    ports = model.graph.input if what == "input" else model.graph.output
    ports.append(ports[0])
    return model.SerializeToString()


@file("what is missing", "graph", "nodes", "inputs", "outputs", "types", "op_type", "names", "everything")
def _(what):
    def edit(model):
        graph = model.graph
        if what == "graph":
            model.ClearField("graph")
        elif what == "nodes":
            del graph.node[:]
        elif what == "inputs":
            del graph.input[:]
        elif what == "outputs":
            del graph.output[:]
        elif what == "types":
            for port in (*graph.input, *graph.output):
                port.ClearField("type")
        elif what == "op_type":
            graph.node[0].op_type = ""
        elif what == "names":
            for node in graph.node:
                del node.output[:]
        else:
            model.Clear()

    return changed("net", edit)


@file("operators without inputs", "Add", "Reshape", "Conv", "BatchNormalization", "Slice", "Concat", "MatMul", "If", "Loop",
      "Scan", "Split", "Gemm", "Softmax", "Transpose", "Clip", "Pad", "Resize", "LSTM", "Einsum", "TopK", "Where")  # fmt: skip
def _(op):
    return model_of([helper.make_node(op, [], ["y"])]).SerializeToString()


@file("operators with empty names", "Add", "Reshape", "Conv", "BatchNormalization", "Slice", "Concat", "MatMul", "Gemm",
      "Softmax", "Transpose", "Clip", "Pad", "Resize", "LayerNormalization", "Where", "Expand", "Gather")  # fmt: skip
def _(op):
    return model_of([helper.make_node(op, ["", "", ""], ["y"])]).SerializeToString()


@file("attributes", "twice", "of another type", "without a type", "a reference", "unknown", "with no name", "huge")
def _(how):
    node = helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])
    attribute = node.attribute[0]
    if how == "twice":
        node.attribute.append(attribute)
    elif how == "of another type":
        node.attribute[0].CopyFrom(helper.make_attribute("perm", "text"))
    elif how == "without a type":
        attribute.type = 0
    elif how == "a reference":
        attribute.ref_attr_name = "elsewhere"
        del attribute.ints[:]
    elif how == "unknown":
        node.attribute.append(helper.make_attribute("surprise", 1))
    elif how == "with no name":
        attribute.name = ""
    else:
        attribute.ints.extend([2**62, -(2**63)] * 1000)
    return model_of([node]).SerializeToString()


@file("perm of a Transpose", (5, 6), (0, 0), (-1, 0), (2**62, 0), (), (0,))
def _(*perm):
    node = helper.make_node("Transpose", ["x"], ["t"])
    node.attribute.append(helper.make_attribute("perm", perm, attr_type=onnx.AttributeProto.INTS))
    return model_of([node, helper.make_node("Transpose", ["t"], ["y"], perm=[1, 0])]).SerializeToString()


@file("axis", *(((op, axis)) for op in ("Softmax", "Concat", "Gather", "Flatten") for axis in (2**62, -99)))
def _(op, axis):
    inputs = {"Concat": ["x", "x"], "Gather": ["x", "i"]}.get(op, ["x"])
    return model_of([helper.make_node(op, inputs, ["y"], axis=axis)], weights={"i": ints(0)}).SerializeToString()


def _deep(depth):
    graph = graph_of([helper.make_node("Relu", ["x"], ["z0"])], inputs=(), outputs=("z0",))
    for level in range(1, depth):
        other = graph_of([helper.make_node("Neg", ["x"], [f"e{level}"])], inputs=(), outputs=(f"e{level}",))
        node = helper.make_node("If", ["c"], [f"z{level}"], then_branch=graph, else_branch=other)
        graph = graph_of([node], inputs=(), outputs=(f"z{level}",))
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3]))
    graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    return model_around(graph)


@file("subgraphs in subgraphs", 3, 10, 20, 30)
def _(depth):
    return _deep(depth).SerializeToString()


@file("subgraphs in subgraphs, beyond what protobuf reads", 200, 5000)
def _(depth):
    content = b""
    for _ in range(depth):  # ModelProto.graph.node.attribute.g ...: lengths in front, from the inside out
        for tag in (0x32, 0x2A, 0x0A):
            content = bytes((tag,)) + _varint(len(content)) + content
    return b"\x08\x0a" + b"\x3a" + _varint(len(content)) + content


def _varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


@file("functions", "itself", "each other", "twice", "no body", "unknown operator", "2^20 calls", "wide calls")
def _(how):
    def function(name, *calls, domain="mine"):
        steps = ["a", *(f"s{i}" for i in range(len(calls) - 1)), "b"]
        body = [
            helper.make_node(call, [before], [after], domain="" if call in ("Relu", "Nope") else "mine")
            for call, before, after in zip(calls, steps, steps[1:], strict=False)
        ]
        opsets = [*OPSETS, helper.make_opsetid("mine", 1)]
        return helper.make_function(domain, name, ["a"], ["b"], body, opsets)

    made = {
        "itself": [function("F", "F")],
        "each other": [function("F", "G"), function("G", "F")],
        "twice": [function("F", "Relu"), function("F", "Relu", "Relu")],
        "no body": [function("F")],
        "unknown operator": [function("F", "Nope")],
        "2^20 calls": [*(function(f"F{i}", f"F{i + 1}", f"F{i + 1}") for i in range(20)), function("F20", "Relu"),
                       function("F", "F0")],
        "wide calls": [function("F", *["G"] * 300), function("G", *["H"] * 300), function("H", "Relu")],
    }[how]  # fmt: skip
    node = helper.make_node("F", ["x"], ["y"], domain="mine")
    return model_around(graph_of([node]), [*OPSETS, helper.make_opsetid("mine", 1)], functions=made).SerializeToString()


# -- cost ----------------------------------------------------------------------------------------------------------


@file("Einsum", "ij,jk->ik" * 50, "i" * 5000, ",".join(["ij"] * 2000) + "->i", "...ij,...jk", "->", ",", "", "i->j" * 9,
      "...", "." * 99, "ij...,jk...->ik...->", "\x00", "i,j,k,l,m,n,o,p,q,r,s,t,u->u", ".ij->ij", "ij->ij.", "i j , j k",
      "...." + "i" * 30, "..,..->..")  # fmt: skip
def _(equation):
    node = helper.make_node("Einsum", ["x"] * (equation.count(",") + 1), ["y"], equation=equation)
    return model_of([node]).SerializeToString()


@file("Adds of an Expand", (20, 10 * MIB), (200, MIB), (3, 2**40), (20, 2**33), (1000, 4096))
def _(adds, size):
    nodes = [helper.make_node("Expand", ["one", "size"], ["v0"])]
    nodes += [helper.make_node("Add", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(adds)]
    nodes += [
        helper.make_node("ReduceSum", [f"v{adds}"], ["s"], keepdims=0),
        helper.make_node("Cast", ["s"], ["f"], to=1),
    ]
    nodes += [helper.make_node("Add", ["x", "f"], ["y"])]
    return model_of(nodes, weights={"one": ints(1), "size": ints(size)}).SerializeToString()


@file(
    "what makes much of little",
    "ConstantOfShape",
    "Range",
    "Tile",
    "Concat",
    "Expand 2",
    "Pad",
    "OneHot",
    "Resize",
    "EyeLike",
)
def _(how):
    big = 2**36
    nodes, weights = {
        "ConstantOfShape": ([helper.make_node("ConstantOfShape", ["s"], ["v"])], {"s": ints(big)}),
        "Range": ([helper.make_node("Range", ["a", "b", "c"], ["v"])],
                  {"a": np.array(0), "b": np.array(big), "c": np.array(1)}),
        "Tile": ([helper.make_node("Tile", ["a", "s"], ["v"])], {"a": ints(1), "s": ints(big)}),
        "Concat": ([helper.make_node("Concat", ["a"] * 2, ["c0"], axis=0)]
                   + [helper.make_node("Concat", [f"c{i}"] * 2, [f"c{i + 1}"], axis=0) for i in range(34)]
                   + [helper.make_node("Identity", ["c34"], ["v"])], {"a": ints(1)}),
        "Expand 2": ([helper.make_node("Expand", ["a", "s"], ["v"])], {"a": ints(1), "s": ints(2**18, 2**18)}),
        "Pad": ([helper.make_node("Pad", ["a", "s"], ["v"])], {"a": ints(1), "s": ints(0, big)}),
        "OneHot": ([helper.make_node("OneHot", ["a", "d", "o"], ["v"])],
                   {"a": ints(1), "d": np.array(big), "o": ints(0, 1)}),
        "Resize": ([helper.make_node("Resize", ["w", "", "", "s"], ["v"], mode="nearest")],
                   {"w": np.ones((1, 1, 1), np.float32), "s": ints(1, 1, big)}),
        "EyeLike": ([helper.make_node("ConstantOfShape", ["s"], ["e"]), helper.make_node("EyeLike", ["e"], ["v"])],
                    {"s": ints(2**18, 2**18)}),
    }[how]  # fmt: skip
    nodes += [helper.make_node("Cast", ["v"], ["k"], to=1), helper.make_node("ReduceSum", ["k"], ["f"], keepdims=0)]
    return model_of([*nodes, helper.make_node("Add", ["x", "f"], ["y"])], weights=weights).SerializeToString()


@file("Loop of constants", 10, 2**40)
def _(trips):
    body = graph_of([helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Add", ["v", "v"], ["w"])],
                    inputs=(), outputs=())  # fmt: skip
    body.input.extend([helper.make_tensor_value_info("i", TensorProto.INT64, []),
                       helper.make_tensor_value_info("c", TensorProto.BOOL, []),
                       helper.make_tensor_value_info("v", TensorProto.FLOAT, [1])])  # fmt: skip
    body.output.extend([helper.make_tensor_value_info("d", TensorProto.BOOL, []),
                        helper.make_tensor_value_info("w", TensorProto.FLOAT, [1])])  # fmt: skip
    node = helper.make_node("Loop", ["trips", "go", "start"], ["z"], body=body)
    weights = {"trips": np.array(trips), "go": np.array(True), "start": np.ones(1, np.float32)}
    return model_of([node, helper.make_node("Add", ["x", "z"], ["y"])], weights=weights).SerializeToString()


@file(
    "many",
    "nodes in a row",
    "nodes beside each other",
    "inputs of one node",
    "Identities",
    "outputs",
    "Transposes",
    "Constants",
)
def _(what):
    count = 20_000
    if what == "inputs of one node":
        return model_of([helper.make_node("Sum", ["x"] * count, ["y"])]).SerializeToString()
    if what == "nodes beside each other":
        nodes = [helper.make_node("Relu", ["x"], [f"v{i}"]) for i in range(count)]
        return model_of([*nodes, helper.make_node("Sum", [f"v{i}" for i in range(count)], ["y"])]).SerializeToString()
    if what == "outputs":
        nodes = [helper.make_node("Relu", ["x"], [f"v{i}"]) for i in range(5000)]
        return model_of(nodes, outputs=[f"v{i}" for i in range(5000)]).SerializeToString()
    if what == "Constants":
        nodes = [helper.make_node("Constant", [], [f"c{i}"], value_float=1.0) for i in range(count)]
        nodes += [helper.make_node("Add", ["x" if i == 0 else f"v{i}", f"c{i}"], [f"v{i + 1}"]) for i in range(count)]
        return model_of([*nodes, helper.make_node("Relu", [f"v{count}"], ["y"])]).SerializeToString()
    op, extra = {
        "nodes in a row": ("Relu", {}),
        "Identities": ("Identity", {}),
        "Transposes": ("Transpose", {"perm": [1, 0]}),
    }[what]
    nodes = [helper.make_node(op, ["x" if i == 0 else f"v{i}"], [f"v{i + 1}"], **extra) for i in range(count)]
    return model_of([*nodes, helper.make_node("Relu", [f"v{count}"], ["y"])]).SerializeToString()


@file("a million nodes")
def _():
    graph = graph_of([])
    made = graph.node.add  # twice as fast as make_node
    for i in range(1_000_000):
        node = made(op_type="Relu")
        node.input.append("x" if i == 0 else f"v{i}")
        node.output.append(f"v{i + 1}")
    graph.node.add(op_type="Relu", input=["v1000000"], output=["y"])
    return model_around(graph).SerializeToString()


@file("content", b"", b"\x00" * 1000, b"\xff" * 1000, b"not a model", b"PK\x03\x04" + b"\0" * 100, b"\x08\x0a" * 9000,
      b"\x3a" + b"\xff" * 9 + b"\x01", b"\x32\xff\xff\xff\xff\x07")  # fmt: skip
def _(content):
    return content


HEAVY = ("a million nodes", *(name for name in FILES if name.startswith("many: ")))
"""These take seconds each for what they are: they run by command only."""
