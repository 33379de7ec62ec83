"""``einsum_to_matmul``: Einsum as Transpose, ReduceSum, Reshape and MatMul.

Operands are contracted from left to right. For two operands, with the letters of each pair of terms sorted into
batch (in both, needed later), contracted (in both, not needed), left and right (in one, needed):

1. a letter in one operand only that is not needed later is summed (ReduceSum),
2. both are transposed to (batch, left, contracted) and (batch, contracted, right), each group reshaped to one axis,
3. MatMul, the groups reshaped back, and one Transpose to the order of the output.

One operand is rules 1 and a Transpose. An ellipsis stands for letters of its own. Refused: a letter twice in one term
(a diagonal), broadcasting of letters of size 1, and Reshape targets with two sizes unknown.
Source: https://onnx.ai/onnx/operators/onnx__Einsum.html, numpy.einsum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from pytest_modelcheck.graph.attributes import has_reference_attributes, text_attribute
from pytest_modelcheck.rewriting import Pass, Rewriter
from pytest_modelcheck.rewriting.matching import scope_of
from pytest_modelcheck.shapes.dims import Dim, product
from pytest_modelcheck.shapes.equations import parse_equation
from pytest_modelcheck.shapes.reshape_target import reshape_target


class EinsumToMatmul(Pass):
    name = "einsum_to_matmul"

    def rewrite(self, rewriter: Rewriter) -> None:
        rewriter.known.refresh()
        for node in rewriter.nodes("Einsum"):
            _try_expand(rewriter, node)


@dataclass(slots=True)
class _Term:
    value: ir.Value
    letters: str


@dataclass(slots=True)
class _Writer:
    """Collects nodes; remembers the size of every letter."""

    rewriter: Rewriter
    scope: ir.Graph | ir.Function
    sizes: dict[str, Dim]
    dtype: ir.DataType | None
    nodes: list[ir.Node] = field(default_factory=list)
    reason: str | None = None

    def node(self, op_type: str, inputs: list[ir.Value], attributes: dict[str, Any] | None = None) -> ir.Value:
        made = self.rewriter.node(op_type, inputs, attributes, dtype=self.dtype)
        self.nodes.append(made)
        return made.outputs[0]

    def transposed(self, term: _Term, letters: str) -> _Term:
        if term.letters == letters:
            return term
        perm = [term.letters.index(letter) for letter in letters]
        return _Term(self.node("Transpose", [term.value], {"perm": perm}), letters)

    def summed(self, term: _Term, drop: str) -> _Term:
        if not drop:
            return term
        axes = [term.letters.index(letter) for letter in drop]
        letters = "".join(letter for letter in term.letters if letter not in drop)
        if self.rewriter.opset() >= 13:
            inputs = [term.value, self.rewriter.integers(self.scope, axes, "axes")]
            return _Term(self.node("ReduceSum", inputs, {"keepdims": 0}), letters)
        return _Term(self.node("ReduceSum", [term.value], {"axes": axes, "keepdims": 0}), letters)

    def reshaped(self, value: ir.Value, start: Sequence[Dim], final: Sequence[Dim]) -> ir.Value:
        if tuple(start) == tuple(final):
            return value
        target = reshape_target(start, final)
        if target is None:
            self.reason = "a Reshape would need two sizes that are not known"
            return value
        return self.node("Reshape", [value, self.rewriter.integers(self.scope, target, "shape")])

    def size(self, letters: str) -> Dim:
        return product(self.sizes[letter] for letter in letters)

    def grouped(self, term: _Term, groups: Sequence[str]) -> ir.Value:
        """`term`, transposed to the letters of `groups`, each but the first reshaped to one axis."""
        moved = self.transposed(term, "".join(groups))
        start = [self.sizes[letter] for letter in moved.letters]
        final = [*(self.sizes[letter] for letter in groups[0]), *(self.size(group) for group in groups[1:])]
        return self.reshaped(moved.value, start, final)


def _try_expand(rewriter: Rewriter, node: ir.Node) -> bool:
    if has_reference_attributes(node):
        return rewriter.refuse("an attribute is set by the caller of the function", node)
    operands = [value for value in node.inputs if value is not None]
    known = [shape for value in operands if (shape := rewriter.known.shape(value)) is not None]
    if len(known) < len(operands):
        return rewriter.refuse("the rank of an operand is not known", node)
    equation = parse_equation(text_attribute(node, "equation", "") or "", list(map(len, known)))
    if isinstance(equation, str):
        return rewriter.refuse(equation, node)
    sizes: dict[str, Dim] = {}
    for letters, shape in zip(equation.terms, known, strict=True):
        for letter, size in zip(letters, shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                return rewriter.refuse(f"the sizes of letter {letter!r} are not proven equal", node)
    if any(letter not in sizes for letter in equation.output) or len(set(equation.output)) != len(equation.output):
        return rewriter.refuse("the output has a letter twice or one that no operand has", node)
    output = node.outputs[0]
    write = _Writer(rewriter, scope_of(node), sizes, output.dtype)
    terms = [_Term(value, letters) for value, letters in zip(operands, equation.terms, strict=True)]
    result = terms[0]
    for index, term in enumerate(terms[1:], start=1):
        later = set(equation.output).union(*(other.letters for other in terms[index + 1 :]))
        result = _contract(write, result, term, later)
    result = write.summed(result, "".join(letter for letter in result.letters if letter not in equation.output))
    result = write.transposed(result, equation.output)
    if write.reason is not None:
        rewriter.discard(write.nodes)
        return rewriter.refuse(write.reason, node)
    if not write.nodes:
        write.node("Identity", [result.value])
        result = _Term(write.nodes[-1].outputs[0], result.letters)
    rewriter.declare(result.value, like=output)
    return rewriter.replace([node], write.nodes, {output: result.value})


def _contract(write: _Writer, left: _Term, right: _Term, later: set[str]) -> _Term:
    """One product of two terms, summed over the letters that nothing needs later."""
    left = write.summed(left, "".join(x for x in left.letters if x not in right.letters and x not in later))
    right = write.summed(right, "".join(x for x in right.letters if x not in left.letters and x not in later))
    batch = "".join(x for x in left.letters if x in right.letters and x in later)
    contracted = "".join(x for x in left.letters if x in right.letters and x not in later)
    rows = "".join(x for x in left.letters if x not in right.letters)
    columns = "".join(x for x in right.letters if x not in left.letters)
    # Without batch letters MatMul broadcasts the matrix on the right: the rows can stay several axes.
    a = write.grouped(left, (batch, rows, contracted) if batch or not rows else (rows, contracted))
    b = write.grouped(right, (batch, contracted, columns))
    multiplied = write.node("MatMul", [a, b])
    row_sizes = [write.size(rows)] if batch or not rows else [write.sizes[x] for x in rows]
    start = [*(write.sizes[x] for x in batch), *row_sizes, write.size(columns)]
    letters = batch + rows + columns
    return _Term(write.reshaped(multiplied, start, [write.sizes[x] for x in letters]), letters)
