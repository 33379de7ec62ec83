"""No pass edits a graph by itself: every edit goes through the rewriter, which counts it and keeps names and owners."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pytest_modelcheck.passes

PASSES = Path(pytest_modelcheck.passes.__file__).parent

FIELDS = {"const_value", "domain", "dtype", "graph", "name", "op_type", "overload", "shape", "type", "version"}
"""Of values and nodes."""

CONTAINERS = {"attributes", "functions", "initializers", "inputs", "metadata_props", "opset_imports", "outputs"}
"""Of nodes, graphs and models."""

CHANGES = {"add", "append", "clear", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update"}
"""Methods that change such a container."""

EDITS = {
    "insert_after", "insert_before", "merge_metadata", "register_initializer", "remove", "replace_all_uses_with",
    "replace_input_with", "resize_inputs", "resize_outputs", "sort",
}  # fmt: skip
"""Methods and functions that change a graph; the rewriter has some of the same name."""

MAKERS = {"Node", "Value", "node"}
"""What makes a node or value without a free name: ``ir.node`` and others."""


def direct_edits(source: str) -> list[str]:
    """Every place in `source` that edits a graph other than through a rewriter, as ``line: code``."""
    edits = [node for node in ast.walk(ast.parse(source)) if _is_edit(node)]
    return [f"{node.lineno}: {ast.unparse(node)}" for node in edits if isinstance(node, ast.expr | ast.stmt)]


def _is_edit(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return _is_editing_call(node.func)
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    flat = [inner for target in targets for inner in (target.elts if isinstance(target, ast.Tuple) else [target])]
    return any(
        _is_field(target) or (isinstance(target, ast.Subscript) and _is_container(target.value)) for target in flat
    )


def _is_editing_call(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id == "merge_metadata"
    if not isinstance(function, ast.Attribute):
        return False
    owner = ast.unparse(function.value)
    if function.attr in MAKERS and owner == "ir":
        return True
    if function.attr in CHANGES and _is_container(function.value):
        return True
    return function.attr in EDITS and owner.rpartition(".")[2].lstrip("_") != "rewriter"


def _is_field(target: ast.expr) -> bool:
    if isinstance(target, ast.Subscript):
        return _is_container(target.value)
    return isinstance(target, ast.Attribute) and target.attr in FIELDS and ast.unparse(target.value) != "self"


def _is_container(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Attribute) and expression.attr in CONTAINERS


@pytest.mark.parametrize("path", sorted(PASSES.rglob("*.py")), ids=lambda path: str(path.relative_to(PASSES)))
def test_no_pass_edits_a_graph_by_itself(path: Path) -> None:
    assert direct_edits(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    [
        "node.replace_input_with(0, value)",
        "graph.remove(nodes)",
        "scope.insert_before(anchor, nodes)",
        "node.graph.insert_after(node, made)",
        "value.replace_all_uses_with(other)",
        "graph.register_initializer(value)",
        "node.resize_inputs(2)",
        "merge_metadata([old], [new])",
        "ir.node('Constant', [])",
        "node.attributes['axis'] = axis",
        "del node.attributes['axis']",
        "node.attributes.pop('auto_pad', None)",
        "graph.initializers[name] = value",
        "branch.outputs.clear()",
        "model.opset_imports[''] = 23",
        "model.opset_imports.setdefault('com.microsoft', 1)",
        "model.metadata_props[KEY] = text",
        "del model.functions[identifier]",
        "value.name = 'y'",
        "value.shape = ir.Shape([1])",
        "result.type, result.shape = output.type, output.shape",
    ],
)
def test_a_planted_edit_is_found(planted: str) -> None:
    assert direct_edits(f"def rewrite(rewriter):\n    {planted}\n") == [f"2: {ast.unparse(ast.parse(planted))}"]


@pytest.mark.parametrize(
    "allowed",
    [
        "rewriter.insert_after(node, made)",
        "self._rewriter.set_input(node, 0, value)",
        "made = rewriter.node('Add', inputs)",
        "self.name = name",
        "found.append(node)",
        "shape = value.shape",
        "attributes['axis'] = axis",
        "axes = [*node.attributes['axes'].as_ints()]",
    ],
)
def test_what_goes_through_the_rewriter_or_edits_no_graph_is_allowed(allowed: str) -> None:
    assert direct_edits(f"def rewrite(self, rewriter):\n    {allowed}\n") == []
