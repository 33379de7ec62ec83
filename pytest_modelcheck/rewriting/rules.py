"""Rules: what is looked for as a formula, when it is left alone, and what is put in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

import onnx_ir as ir

from pytest_modelcheck.graph.readers import read_outside, reads
from pytest_modelcheck.rewriting.formulas import Match, Op, Pattern
from pytest_modelcheck.rewriting.rewriter import Rewriter

_MAX_READERS = 4
"""A value that more nodes read is inside no formula."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rewrite.

    Attributes:
        name: Of the rule, one of its pass's `rules`.
        formula: What is looked for.
        anchor: The operator of the formula around which it is looked for: without one the rule costs nothing, as where
            another operator of the formula is missing.
        reach: How many operators there are at most from the anchor to the result.
        called: What the formula is, for the reason "a value inside the ... is read by something else"; empty to say
            which value.
        fits: Why a match is left alone, whatever reads the values inside; None where it is not.
        makes: The nodes to put in for a match, the last one making the result; or why it cannot.
        repeats: Rewrite, too, where values inside are read elsewhere, if more than one node goes for the one that
            comes: what stays is cheap to compute twice.
    """

    name: str
    formula: Pattern
    anchor: Op
    reach: int
    called: str = ""
    fits: Callable[[Rewriter, Match], str | None] = lambda rewriter, match: None
    makes: Callable[[Rewriter, Match], list[ir.Node] | str]
    repeats: bool = False


def apply(rewriter: Rewriter, rules: Sequence[Rule]) -> None:
    """Rewrite wherever one of `rules` matches; of several, the first decides."""
    present = {node.op_type for node in rewriter.nodes()}
    by_anchor: dict[str, list[Rule]] = {}
    for rule in rules:
        if rule.formula.possible(present):
            by_anchor.setdefault(rule.anchor.op_type, []).append(rule)
    for anchor in rewriter.nodes(*by_anchor) if by_anchor else ():
        for rule in by_anchor[anchor.op_type]:
            if _try(rewriter, rule, anchor):
                break


def _try(rewriter: Rewriter, rule: Rule, anchor: ir.Node) -> bool:
    """Whether `rule` matches around `anchor`: rewritten then, or refused."""
    if rule.reach and next(rule.anchor.find(anchor.outputs[0], Match()), None) is None:
        return False
    refused: list[tuple[str, Match]] = []
    for root in _roots(anchor, rule):
        for match in rule.formula.find(root, Match()):
            if match.named.get(rule.anchor.name) is not anchor:
                continue
            rewriter.begin_rule(rule.name)
            reason = rule.fits(rewriter, match)
            if reason is None and (elsewhere := _read_elsewhere(match, rule.called)):
                refused.append((elsewhere, match))  # a smaller match may still be free
                continue
            _rewrite(rewriter, rule, match, reason)
            return True
    if not refused:
        return False
    largest = max((match for _, match in refused), key=_nodes_that_go)
    if rule.repeats and _nodes_that_go(largest) > 1:
        _rewrite(rewriter, rule, largest, None)
    else:
        rewriter.refuse(refused[0][0], refused[0][1].root)
    return True


def _rewrite(rewriter: Rewriter, rule: Rule, match: Match, reason: str | None) -> None:
    made = rule.makes(rewriter, match) if reason is None else reason
    if isinstance(made, str):
        rewriter.refuse(made, match.root)
    else:
        rewriter.replace(match.nodes, made, {match.result: made[-1].outputs[0]})


def _roots(anchor: ir.Node, rule: Rule) -> list[ir.Value]:
    """What the operators of the formula make of the result of `anchor`, the farthest first: one may be the whole."""
    found = level = [anchor.outputs[0]]
    operators = rule.formula.operators() if rule.reach else ()
    for _ in range(rule.reach):
        readers = [use.node for value in level if reads(value) <= _MAX_READERS for use in value.uses()]
        makers = [n for n in readers if n.domain == "" and n.op_type in operators and n.graph is anchor.graph]
        level = [value for value in dict.fromkeys(node.outputs[0] for node in makers) if value not in found]
        found = [*level, *found]
    return found


def _nodes_that_go(match: Match) -> int:
    """How many nodes of `match` nothing but its result needs."""
    needed: set[ir.Node] = set()
    for node in reversed(match.nodes[:-1]):
        if any(_escapes(output, set(match.nodes) - needed) for output in node.outputs):
            needed.add(node)
    return len(match.nodes) - len(needed)


def _read_elsewhere(match: Match, called: str) -> str | None:
    """Why the nodes of `match` cannot go: something else needs a value inside; None where nothing does."""
    inside = set(match.nodes)
    for node in match.nodes[:-1]:
        if node.graph is not match.root.graph:
            return f"the {node.op_type} output is read in a subgraph"
        for output in node.outputs:
            if not _escapes(output, inside):
                continue
            if called:
                return f"a value inside the {called} is read by something else"
            if output.is_graph_output():
                return f"the {node.op_type} output is a graph output"
            return f"the {node.op_type} output is used {reads(output)} times"
    return None


def _escapes(value: ir.Value, nodes: Set[ir.Node]) -> bool:
    return value.is_graph_output() or read_outside(value, nodes)
