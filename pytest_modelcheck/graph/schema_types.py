"""Element types that an operator's schema leaves no choice about, given those of its inputs.

ONNX shape inference knows few of the operators of ai.onnx.ml, and no Cast behind one could be seen to do nothing.
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
        for value, of in zip(node.outputs, fixed, strict=False):
            if not isinstance(of, ir.DataType):
                source = None if of is None or of >= len(node.inputs) else node.inputs[of]
                of = source.dtype if source is not None and isinstance(source.type, ir.TensorType) else None
            if value.type is None and of is not None:
                value.type = ir.TensorType(of)


@functools.lru_cache
def _fixed_types(domain: str, op_type: str, version: int) -> tuple[ir.DataType | int | None, ...]:
    """Of each output its type, or the index of the first input that has the same one."""
    try:
        schema = onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return ()
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    given = [value.type_str for value in schema.inputs]
    names = [output.type_str for output in schema.outputs]
    texts = [allowed.get(name, [name]) for name in names]
    return tuple(
        _data_type(text[0]) if len(text) == 1 else given.index(name) if name in given else None
        for name, text in zip(names, texts, strict=True)
    )


def _data_type(text: str) -> ir.DataType | None:
    """The element type of ``tensor(float)``; None for a sequence, map or optional."""
    return ir.DataType[text[len("tensor(") : -1].upper()] if text.startswith("tensor(") else None
