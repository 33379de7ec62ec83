"""An ``If`` one branch of which cannot run: whatever takes it breaks a rule of an operator further on.

Scripted code asks how many dimensions a tensor has (``squeeze(-1)`` of a size that is not known, ``nn.LSTM`` with and
without a batch), and so becomes an If whose branches give tensors of other ranks. Often only one of them leads on:
after the other one the LSTM would get four dimensions. So each branch is supposed to run, what follows from that is
folded in a copy, and inference is asked whether an operator refuses its inputs. Where it does for one branch only, the
condition becomes the constant that takes the other.

An input that would have taken that branch failed before, and need not fail now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import numpy as np
import onnx
import onnx_ir as ir

from pytest_modelcheck.graph.counts import nodes_within
from pytest_modelcheck.graph.shape_inference import without_large_weights
from pytest_modelcheck.rewriting import Rewriter
from pytest_modelcheck.rewriting.matching import scope_of

_MOST = 16
"""Conditions that are tried in one run of a pass: each takes two copies of the model."""
_SHOWN = 200
_BRANCHES = {True: "then_branch", False: "else_branch"}


def drop_impossible_branches(rewriter: Rewriter, tried: set[ir.Node], fold: Callable[[Rewriter], None]) -> bool:
    """Make the condition of the first If that has one possible branch constant; whether there was one.

    Args:
        rewriter: Of the pass on whose behalf this is done.
        tried: The nodes that were asked about before; each is asked about once.
        fold: Folds what is constant in a model, and inlines each If whose condition is.
    """
    ifs = _ifs(rewriter.model)
    for index, node in enumerate(ifs):
        if node in tried or len(tried) >= _MOST or rewriter.exhausted or not _gives_other_ranks(node):
            continue
        tried.add(node)
        rewriter.sort()  # only then can the model be copied
        refusals = {taken: _refusal(rewriter, index, taken, fold) for taken in _BRANCHES}
        possible = [taken for taken, reason in refusals.items() if not reason]
        if len(possible) == 1:
            taken = possible[0]
            rewriter.begin_rule("if")
            name = node.name or node.outputs[0].name
            rewriter.note(f"{_BRANCHES[not taken]} of If {name!r} is dropped: with it, {refusals[not taken]}")
            _decide(rewriter, node, taken)
            rewriter.edited()
            return True
    return False


def _ifs(model: ir.Model) -> list[ir.Node]:
    return [node for node in nodes_within(model.graph) if node.op_type == "If" and node.domain == ""]


def _gives_other_ranks(node: ir.Node) -> bool:
    then, other = (node.attributes[name].as_graph().outputs for name in _BRANCHES.values())
    pairs = ((a.shape, b.shape) for a, b in zip(then, other, strict=True))
    return any(a is not None and b is not None and len(a) != len(b) for a, b in pairs)


def _decide(rewriter: Rewriter, node: ir.Node, taken: bool) -> None:
    rewriter.set_input(node, 0, rewriter.constant_value(scope_of(node), np.array(taken), "condition"))


def _refusal(rewriter: Rewriter, index: int, taken: bool, fold: Callable[[Rewriter], None]) -> str:
    """Why inference refuses the model in which the `index`-th If takes this branch; "" where it takes it."""
    supposed = Rewriter(rewriter.model.clone(), pass_name=rewriter.pass_name, target=rewriter.target)
    _decide(supposed, _ifs(supposed.model)[index], taken)
    fold(supposed)
    supposed.finish()
    try:
        proto = without_large_weights(supposed.model)
        _forget_shapes(proto.graph)
        onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        return _reason(" ".join(str(error).split()))
    return ""


def _reason(text: str) -> str:
    """The innermost of inference's errors, which names the operator."""
    found = re.search(r".*op_type:(\w+)(?:, node name: ([^)]*))?\): (?:\[\w+\] )?(.*)", text)
    if found is None:
        return text[:_SHOWN]
    name = f" {found[2]!r}" if found[2] else ""
    return f"{found[1]}{name} breaks a rule: {found[3][:_SHOWN]}"


def _forget_shapes(graph: onnx.GraphProto) -> None:
    """Leave what follows from the inputs: an exporter's claims would count as rules that are broken."""
    values: Iterable[onnx.ValueInfoProto] = (*graph.value_info, *graph.output)
    for value in values:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _forget_shapes(attribute.g)
