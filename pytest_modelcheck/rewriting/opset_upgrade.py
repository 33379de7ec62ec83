"""Raising a model's opset: only where every node means the same in the new one.

An operator keeps its meaning where the two versions of its schema have the same inputs, outputs and attributes with the
same defaults (new optional ones apart) and accept at least the types they did. A few operators changed their meaning
without changing their schema; they are listed. Reductions whose axes became an input are rewritten.
Source: the changelog of the operators, https://github.com/onnx/onnx/blob/main/docs/Changelog.md
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from pytest_modelcheck.graph.attributes import integer_attribute
from pytest_modelcheck.rewriting.matching import scope_of
from pytest_modelcheck.rewriting.rewriter import Rewriter
from pytest_modelcheck.targets import Target

_CHANGED_MEANING = {
    "AveragePool": 22,  # ceil_mode
    "BatchNormalization": 14,  # running statistics became outputs
    "DFT": 20,
    "GroupNormalization": 21,  # scale per channel instead of per group
    "Hardmax": 13,  # axis was the start of a coerced matrix
    "LogSoftmax": 13,
    "Resize": 19,
    "Softmax": 13,
    "Split": 18,  # the number of outputs has to be said
}
"""Operator -> the version from which on it means what it means today."""


_HIGHEST: dict[Target, int] = {"opset23": 23, "onnxruntime": 23, "tflite": 20}
"""Target -> the opset to which a model may be raised; every onnxruntime from 1.23 on reads 23."""


def reach_opset(rewriter: Rewriter, version: int, op_type: str) -> str | None:
    """Raise the opset to one that has `op_type`, where the target allows it and the model does not import one yet.

    For target ``onnxruntime`` no further than to `version`: the lower the opset, the older the onnxruntime that reads
    the result (1.22 reads none above 22).

    Returns:
        None where the model imports `version` now; else the reason, with nothing changed.
    """
    current, highest = rewriter.opset(), _HIGHEST.get(rewriter.target, 0)
    if current >= version:
        return None
    if highest < version:
        return f"{op_type} needs opset {version}, the model imports {current}"
    return raise_opset(rewriter, version if rewriter.target == "onnxruntime" else highest)


def raise_opset(rewriter: Rewriter, version: int) -> str | None:
    """Raise the standard opset of the model and its functions to `version`.

    Returns:
        None where that was done or is not necessary; else the reason, with nothing changed.
    """
    current = rewriter.opset()
    if current >= version:
        return None
    if any(function.opset_imports.get("", current) != current for function in rewriter.model.functions.values()):
        return "a function imports another opset"
    reductions = []
    for node in (node for scope in rewriter.scopes() for node in scope if node.domain == ""):
        reason = _difference(node, current, version)
        if reason == _AXES_MOVED:
            reductions.append(node)
        elif reason is not None:
            return f"opset {version} would change {node.op_type}: {reason}"
    for node in reductions:
        _move_axes(rewriter, node)
    rewriter.set_opset(version)
    return None


_AXES_MOVED = "its axes became an input"


def _difference(node: ir.Node, old_version: int, new_version: int) -> str | None:
    """Why `node` would mean something else, or `_AXES_MOVED`; None where it means the same."""
    try:
        old = onnx.defs.get_schema(node.op_type, old_version, "")
        new = onnx.defs.get_schema(node.op_type, new_version, "")
    except onnx.defs.SchemaError:
        return "it is not known to the installed onnx"
    if old.since_version == new.since_version:
        return None
    if new.deprecated:
        return "it is deprecated there"
    if old.since_version < _CHANGED_MEANING.get(node.op_type, 0) <= new.since_version and not _is_unaffected(node):
        return "its semantics differ there"
    if "axes" in node.attributes and "axes" not in new.attributes and any(i.name == "axes" for i in new.inputs):
        return "its axes are set by the caller of the function" if node.attributes["axes"].is_ref() else _AXES_MOVED
    for name in old.attributes:
        if name not in new.attributes:
            if name in node.attributes or not any(i.name == name for i in new.inputs):
                return f"attribute {name} is gone"
        elif name not in node.attributes and _default(old, name) != _default(new, name):
            return f"the default of attribute {name} changed"
    if any(attribute.required and name not in old.attributes for name, attribute in new.attributes.items()):
        return "a new attribute is required"
    for role in ("inputs", "outputs"):
        before, after = getattr(old, role), getattr(new, role)
        if len(after) < len(before) or any(a.option != b.option for a, b in zip(before, after, strict=False)):
            return f"its {role} changed"
        if any(a.option == onnx.defs.OpSchema.FormalParameterOption.Single for a in after[len(before) :]):
            return f"its {role} changed"
        if any(not set(a.types) <= set(b.types) for a, b in zip(before, after, strict=False)):
            return f"it accepts fewer types for its {role}"
    return None


def _is_unaffected(node: ir.Node) -> bool:
    if node.op_type == "Split":
        return len(node.inputs) > 1 and node.inputs[1] is not None
    return node.op_type == "AveragePool" and integer_attribute(node, "ceil_mode", 0) == 0


def _default(schema: onnx.defs.OpSchema, name: str) -> bytes:
    return bytes(schema.attributes[name].default_value.SerializeToString())


def _move_axes(rewriter: Rewriter, node: ir.Node) -> None:
    axes = node.attributes["axes"].as_ints()
    rewriter.set_attributes(node, {"axes": None})
    rewriter.set_input(node, 1, rewriter.integers(scope_of(node), axes, "axes"))
