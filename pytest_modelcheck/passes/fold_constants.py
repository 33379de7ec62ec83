"""``fold_constants``: compute once, at export, what depends on constants only.

1. A node whose inputs are all constant is evaluated, a CastLike by the type alone of what it is like; sizes of a static
   shape, declared or derived (symbolic_shapes.py), and the like (known_results.py) as well. Where a fold makes the
   amounts of a Pad, the size of a Resize or the target of a Reshape constant, and a ``Shape`` behind it still waits,
   shapes are inferred again.
2. Only what a node that stays reads becomes a constant: an initializer; a Constant node inside a function, which has no
   initializers, and for a graph output, whose name a node must produce.
3. A fold whose constant is larger than the constants that die with it makes the file larger. All such folds together
   may do so by `max_growth_bytes`; beyond that they are refused, and the constants before them folded instead. What
   has been spent is kept in the model's metadata, so that a second run may not spend it again.
4. An ``If`` with a constant condition is replaced by the branch that runs; so is one whose other branch cannot run
   (impossible_branches.py).
5. The QuantizeLinear and DequantizeLinear of a quantized model stay, with their constants: runtimes read from them what
   to compute in integers, and the file would be four times as large. `quantized` folds them.
6. Not folded: random operators, nodes with subgraphs, sequences and optionals, operators outside the standard domain,
   and what the evaluator cannot do. An Identity that is no graph output is left to eliminate_identity_ops.

Source: the operators' pages, as onnxruntime computes them; shapes/evaluate.py says where the reference counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.graph.constants import is_constant
from pytest_modelcheck.graph.readers import is_needed, read_outside
from pytest_modelcheck.graph.scopes import subgraphs
from pytest_modelcheck.passes.constant_if import has_constant_if, inline_constant_ifs
from pytest_modelcheck.passes.fold_growth import SPENT_KEY, array_bytes, default_budget, freed_bytes
from pytest_modelcheck.passes.impossible_branches import drop_impossible_branches
from pytest_modelcheck.passes.known_results import OF_SHAPES, known_result
from pytest_modelcheck.rewriting import Pass, Rewriter
from pytest_modelcheck.shapes.dims import are_numbers
from pytest_modelcheck.shapes.evaluate import CannotEvaluate, evaluate
from pytest_modelcheck.shapes.exact import Array

_LARGE = 64 * 1024
"""Bytes above which a result is not kept for later."""

_QUANTIZATION = ("DequantizeLinear", "QuantizeLinear")
_BY_OPERANDS = ("Pad", "Resize", "Reshape", "Expand", "Slice", "Tile", "Unsqueeze", "Squeeze")
"""What comes out has a shape that follows from the shape of the first input and the content of the others."""


@dataclass(frozen=True)
class FoldConstants(Pass):
    """See the module.

    Attributes:
        max_growth_bytes: By how much the folds may make the file larger. None: by 2 % of its constants, or by 64 KiB
            where that is more.
        quantized: Fold QuantizeLinear and DequantizeLinear, too.
    """

    max_growth_bytes: int | None = None
    quantized: bool = False

    name = "fold_constants"
    rules = ("node", "shape", "if")

    def rewrite(self, rewriter: Rewriter) -> None:
        tried: set[ir.Node] = set()
        self._fold_all(rewriter)
        while drop_impossible_branches(rewriter, tried, self._fold_all):
            self._fold_all(rewriter)

    def _fold_all(self, rewriter: Rewriter) -> None:
        goes_on = True
        while goes_on and not rewriter.exhausted:
            rewriter.begin_rule("if")
            inline_constant_ifs(rewriter)
            fold(rewriter, max_growth_bytes=self.max_growth_bytes, quantized=self.quantized)
            goes_on = has_constant_if(rewriter) or _more_shapes_known(rewriter)


def _more_shapes_known(rewriter: Rewriter) -> bool:
    """Infer shapes again where a Shape waits for what its operands have become; False where that tells nothing new."""
    unknown = any(
        not _static(node.outputs[0])
        and _static(node.inputs[0])
        and all(value is None or is_constant(value) for value in node.inputs[1:])
        for node in rewriter.nodes(*_BY_OPERANDS)
    )
    waits = unknown and any(not _static(node.inputs[0]) for node in rewriter.nodes(*OF_SHAPES))
    return waits and rewriter.infer_shapes()


def _static(value: ir.Value | None) -> bool:
    return value is not None and value.shape is not None and are_numbers(value.shape)


def fold(
    rewriter: Rewriter,
    *,
    max_growth_bytes: int | None = None,
    quantized: bool = False,
    nodes: Collection[ir.Node] | None = None,
) -> None:
    """Fold every node that depends on constants only.

    Args:
        rewriter: Of the pass on whose behalf this is done.
        max_growth_bytes, quantized: As of `FoldConstants`.
        nodes: Only these, and what depends on them; None for everything.
    """
    spent = int(rewriter.model.metadata_props.get(SPENT_KEY, 0))
    rewriter.known.refresh()
    folder = _Folder(rewriter, quantized=quantized)
    reached: set[ir.Value | None] = set()
    for node in rewriter.nodes():
        if nodes is not None and node not in nodes and reached.isdisjoint(node.inputs):
            continue
        folder.evaluate(node)
        if nodes is not None and node in folder.results:
            reached.update(node.outputs)
    if not folder.results:
        return
    allowed = default_budget(rewriter, spent) if max_growth_bytes is None else max_growth_bytes
    folder.fold(max(0, allowed - spent))
    if folder.spent:
        rewriter.set_metadata(SPENT_KEY, str(spent + folder.spent))


@dataclass(slots=True)
class _Result:
    """What a node gives, or None where that was large and is read by evaluated nodes alone, and how large it is."""

    arrays: list[Array] | None
    nbytes: list[int]


class _Folder:
    """First evaluates in graph order, then folds where a constant result meets a node that stays."""

    def __init__(self, rewriter: Rewriter, *, quantized: bool) -> None:
        self.rewriter = rewriter
        self.budget = 0
        self.quantized = quantized
        self.spent = 0
        self.results: dict[ir.Node, _Result] = {}

    def evaluate(self, node: ir.Node) -> None:
        if node.domain != "" or node.op_type == "Constant":
            return
        known = self._size(node) if node.op_type in OF_SHAPES else known_result(node)
        if known is not None:
            self.results[node] = _Result([known], [known.nbytes])
            return
        if not all(value is None or self._is_constant(value) for value in _read(node)) or any(
            True for _ in subgraphs(node)
        ):
            return
        if node.op_type in _QUANTIZATION and not self.quantized:
            self.rewriter.refuse("the model is quantized: runtimes read the pair from the file", node)
            return
        try:
            arrays = self._computed(node)
        except CannotEvaluate as error:
            self.rewriter.refuse(str(error), node)
            return
        self.results[node] = _Result(arrays, [array_bytes(array) for array in arrays])
        for value in node.inputs:
            if value is not None and (producer := value.producer()) in self.results:
                self._forget_if_read(producer)

    def _size(self, node: ir.Node) -> Array | None:
        """What a Shape or Size gives, where that follows from what is declared, or from the inputs of the graph."""
        sizes, source = self.rewriter.known.constant_content(node.outputs[0]), node.inputs[0]
        if sizes is not None:
            return np.array(sizes, dtype=np.int64).reshape([-1] if node.op_type == "Shape" else [])
        if source is not None and source.is_graph_output() and _static(source):
            # The exporter's example may be all that the declared shape is.
            self.rewriter.refuse("the shape of a graph output is declared, which proves nothing", node)
        return None

    def _is_constant(self, value: ir.Value) -> bool:
        return value.producer() in self.results or is_constant(value)

    def _forget_if_read(self, node: ir.Node) -> None:
        """Drop what only evaluated nodes read: a chain of large results keeps one of them, not all."""
        result = self.results[node]
        if sum(result.nbytes) > _LARGE and not self._meets_a_node_that_stays(node):
            result.arrays = None

    def _computed(self, node: ir.Node) -> list[Array]:
        """The outputs of a node whose inputs are constant; what was dropped before it is computed again."""
        held: dict[ir.Node, list[Array]] = {}
        stack = [node]
        while stack:
            current = stack[-1]
            before = [producer for value in current.inputs if value is not None and (producer := value.producer())]
            missing = [p for p in before if p in self.results and self.results[p].arrays is None and p not in held]
            if missing:
                stack += missing
                continue
            stack.pop()
            if current not in held:
                inputs = [None if value is None else self._array(value, held) for value in _read(current)]
                like = [np.zeros(1, v.dtype.numpy()) for v in current.inputs[len(inputs) :] if v and v.dtype]
                held[current] = evaluate(current, [*inputs, *like], self.rewriter.opset())
        return held[node]

    def _array(self, value: ir.Value, held: Mapping[ir.Node, list[Array]]) -> Array | None:
        producer = value.producer()
        if producer not in self.results:
            return self.rewriter.constant(value)
        arrays = self.results[producer].arrays or held[producer]
        return arrays[value.index() or 0]

    def fold(self, budget: int) -> None:
        """Fold, and make the constants of the model larger by at most `budget` bytes."""
        self.budget = budget
        frontier = [node for node in self.results if self._meets_a_node_that_stays(node)]
        pending = list(reversed(frontier))
        considered: set[ir.Node] = set()
        while pending and not self.rewriter.exhausted:
            node = pending.pop()
            if node.graph is None or node in considered:
                continue
            considered.add(node)
            # An Identity of a constant is eliminate_identity_ops' business, which needs no new constant.
            looked_through = node.op_type == "Identity" and not node.outputs[0].is_graph_output()
            if looked_through or not self._try_fold(node):
                pending += [p for value in node.inputs if value is not None and (p := value.producer()) in self.results]

    def _meets_a_node_that_stays(self, node: ir.Node) -> bool:
        return any(output.is_graph_output() or read_outside(output, self.results) for output in node.outputs)

    def _try_fold(self, node: ir.Node) -> bool:
        self.rewriter.begin_rule("shape" if node.op_type in OF_SHAPES else "node")
        result = self.results[node]
        read = [index for index, output in enumerate(node.outputs) if is_needed(output)]
        growth = sum(result.nbytes[index] for index in read) - freed_bytes(node)
        if growth > self.budget - self.spent:
            return self.rewriter.refuse("folding would exceed the size budget", node)
        self.spent += max(growth, 0)
        constants: dict[ir.Value, ir.Value] = {}
        nodes: list[ir.Node] = []
        arrays = result.arrays or self._computed(node)
        for output, array in [(node.outputs[index], arrays[index]) for index in read]:
            made, constants[output] = self.rewriter.constant_for(output, _tensor(array, output))
            nodes += made
        del self.results[node]
        return self.rewriter.replace([node], nodes, constants)


def _read(node: ir.Node) -> Sequence[ir.Value | None]:
    """The inputs whose content counts."""
    like = node.inputs[1] if node.op_type == "CastLike" else None
    return node.inputs if like is None or like.dtype is None else node.inputs[:1]


def _tensor(array: Array, value: ir.Value) -> ir.TensorProtocol:
    if array.dtype == object:
        return ir.StringTensor(array, shape=ir.Shape(array.shape), name=value.name)
    return ir.tensor(array, dtype=value.dtype, name=value.name)
