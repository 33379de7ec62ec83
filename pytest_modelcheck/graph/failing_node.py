"""Which node a failed check is about: onnx.checker names nodes by their names, and many exporters write none."""

from __future__ import annotations

import onnx


def failing_node(proto: onnx.ModelProto) -> str:
    """The first unnamed node of the main graph that the checker refuses by itself, by what it makes.

    Returns:
        ``"node 'y'"``, with the node's first output; empty where no such node is found, or it has a name, which the
        checker's own message then holds.
    """
    context = onnx.checker.C.CheckerContext()
    context.ir_version = proto.ir_version
    context.opset_imports = {entry.domain: entry.version for entry in proto.opset_import}
    local = {(function.domain, function.name) for function in proto.functions}
    known = {value.name for value in (*proto.graph.input, *proto.graph.initializer)}
    known |= {tensor.values.name for tensor in proto.graph.sparse_initializer}
    for node in proto.graph.node:
        if not all(name in known for name in node.input if name) or _refused(node, context, local):
            made = next((name for name in node.output if name), "")
            return "" if node.name or not made else f"node {made!r}"
        known.update(node.output)
    return ""


def _refused(node: onnx.NodeProto, context: onnx.checker.C.CheckerContext, local: set[tuple[str, str]]) -> bool:
    if (node.domain, node.op_type) in local:
        return False
    try:
        onnx.checker.check_node(node, context)
    except onnx.checker.ValidationError:
        return True
    return False
