"""Element types that an operator's schema leaves no choice about.

ONNX shape inference knows none of the operators of ai.onnx.ml that give floats, and no Cast behind one could be seen to
do nothing.
"""

from __future__ import annotations

import functools

import onnx
import onnx_ir as ir

from pytest_modelcheck.graph.counts import nodes_within


def declare_fixed_types(model: ir.Model) -> None:
    """Give every output in the main graph that has no type the one that its schema allows, where it allows one."""
    for node in nodes_within(model.graph):
        if node.domain == "" or all(value.type is not None for value in node.outputs):
            continue
        fixed = _fixed_types(node.domain, node.op_type, model.opset_imports.get(node.domain, 0))
        for value, dtype in zip(node.outputs, fixed, strict=False):
            if value.type is None and dtype is not None:
                value.type = ir.TensorType(dtype)


@functools.lru_cache
def _fixed_types(domain: str, op_type: str, version: int) -> tuple[ir.DataType | None, ...]:
    try:
        schema = onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return ()
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    texts = [allowed.get(output.type_str, [output.type_str]) for output in schema.outputs]
    return tuple(_data_type(text[0]) if len(text) == 1 else None for text in texts)


def _data_type(text: str) -> ir.DataType | None:
    """The element type of ``tensor(float)``; None for a sequence, map or optional."""
    return ir.DataType[text[len("tensor(") : -1].upper()] if text.startswith("tensor(") else None
