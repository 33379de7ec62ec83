"""Owners deduced from the order of execution: the ONNX nodes laid beside the operators of one torch forward pass.

Exporters write nodes in the order in which the forward ran. So the best matching of the two sequences that keeps their
order, and that agrees with every owner already known, tells which torch operator a node came from - and with it the
module that ran it, and in which of its calls. One torch operator may become several nodes (`expansions.py`); operators
that left no node, and nodes that fit no operator, are passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.hierarchy.expansions import EXPANSIONS

MAX_CELLS = 100_000_000
"""Nodes x operators above which no matching is tried (about 1 GB of working memory)."""

_MAIN, _PART, _PLACED = 2.0, 1.0, 0.2
_AGAIN_PART, _AGAIN_MAIN, _SKIPPED = 0.25, 1.4, -0.5  # a second main node is rather the next operator's


@dataclass(frozen=True, slots=True)
class TorchOp:
    """One operator of the forward pass.

    Attributes:
        name: Its ATen name.
        path: The module that ran it.
        call: In which of the module's calls, from 1.
        constant: Whether its result depends on no input: an exporter may leave it out, and no node that reads the
            model's inputs comes from it.
    """

    name: str
    path: str
    call: int = 1
    constant: bool = False


def align(nodes: Sequence[ir.Node], trace: Sequence[TorchOp], known: Mapping[ir.Node, str]) -> dict[ir.Node, str]:
    """The module of each node that finds its torch operator.

    Args:
        nodes: In the order of the graph.
        trace: In the order of execution.
        known: Node -> module path, where it is known already; the matching agrees with all of them.

    Returns:
        Node -> module path, for those of `nodes` that are not in `known` and match an operator.
    """
    matched = _match(nodes, trace, known)
    placed = {node: (op.path, fit >= _MAIN) for node, (op, fit) in matched.items() if node not in known}
    return _supported(placed, known)


def calls_in_order(
    nodes: Sequence[ir.Node], trace: Sequence[TorchOp], paths: Mapping[ir.Node, str], shared: Collection[str]
) -> dict[ir.Node, int]:
    """In which call of its module each node ran, for modules that are called more than once.

    Args:
        nodes: In the order of the graph.
        trace: In the order of execution.
        paths: Node -> module path.
        shared: The paths of the modules in question.

    Returns:
        Node -> number of the call, from 1. A node that matches no operator is in the call of the nodes of its module
        before and behind it, where those agree; else it is left out.
    """
    mine = [node for node in nodes if paths.get(node) in shared]
    matched = _match(nodes, trace, paths) if mine else {}
    found = {node: matched[node][0].call for node in mine if node in matched}
    by_path: dict[str, list[ir.Node]] = {}
    for node in mine:
        by_path.setdefault(paths[node], []).append(node)
    for group in by_path.values():
        numbers = [found.get(node) for node in group]
        before = list(accumulate(numbers, _latest))
        behind = list(accumulate(reversed(numbers), _latest))[::-1]
        for node, low, high in zip(group, before, behind, strict=True):
            if node not in found and (number := _between(low, high)) is not None:
                found[node] = number
    return found


def _latest(last: int | None, number: int | None) -> int | None:
    return number or last


def _between(low: int | None, high: int | None) -> int | None:
    """The call of a node between two whose calls are known."""
    return low if low == high else (low or high) if low is None or high is None else None


def _match(
    nodes: Sequence[ir.Node], trace: Sequence[TorchOp], known: Mapping[ir.Node, str]
) -> dict[ir.Node, tuple[TorchOp, float]]:
    """Node -> the operator it comes from and how well that explains it, in the best matching that keeps both orders."""
    if not nodes or not trace or len(nodes) * len(trace) > MAX_CELLS:
        return {}
    scores = _Scores(trace)
    reading = _reading_inputs(nodes)
    best = np.zeros(len(trace) + 1)  # best[j]: nothing behind operator j - 1 is taken; best[0]: nothing is taken
    steps = np.zeros((len(nodes), len(trace) + 1), dtype=np.int32)
    for row, node in enumerate(nodes):
        score = scores.of(node, known.get(node), node in reading)
        # Where a known node tells its operator, the matching must go through it. The shape plumbing of a module is made
        # before, between and behind its operators: it may be passed over.
        anchor = node in known and bool(score.max() >= _MAIN)
        best, steps[row] = _advance(best, score, anchor)
    found = {}
    position = int(np.argmax(best))
    for row in range(len(nodes) - 1, -1, -1):
        step = int(steps[row, position])
        if step < 0:
            continue
        node = nodes[row]
        fit = float(scores.of(node, None, node in reading)[position - 1])
        if fit >= _PART:
            found[node] = (trace[position - 1], fit)
        position = step
    return found


def _reading_inputs(nodes: Sequence[ir.Node]) -> set[ir.Node]:
    """Those of `nodes` whose results depend on the values of the graph's inputs, not on their shapes alone."""
    reading: set[ir.Node] = set()
    for node in nodes:
        if node.op_type in ("Shape", "Size"):
            continue
        for value in node.inputs:
            if value is not None and (value.is_graph_input() or value.producer() in reading):
                reading.add(node)
                break
    return reading


def _advance(best: np.ndarray, score: np.ndarray, anchor: bool) -> tuple[np.ndarray, np.ndarray]:
    """One more node: the best totals by the last operator taken, and where each came from (-1: the node is skipped)."""
    highest = np.maximum.accumulate(best)
    behind = highest[:-1]
    origin = np.maximum.accumulate(np.where(best == highest, np.arange(len(best)), 0))[:-1]
    again = best[1:] - np.where(score >= _MAIN, _AGAIN_MAIN, _AGAIN_PART)
    take = score + np.maximum(behind, again)
    came_from = np.where(behind >= again, origin, np.arange(1, len(best)))
    skip = best + _SKIPPED * (4 if anchor else 1)
    total = skip.copy()
    steps = np.full(len(best), -1, dtype=np.int32)
    better = take > skip[1:]
    total[1:][better] = take[better]
    steps[1:][better] = came_from[better]
    return total, steps


def _supported(placed: Mapping[ir.Node, tuple[str, bool]], known: Mapping[ir.Node, str]) -> dict[ir.Node, str]:
    """`placed`, without nodes that only go with an operator where nothing connects them to a node that tells it.

    A Cast may be part of many operators. It is taken for a part of the one it was placed at if, through nodes of the
    same module, it is connected to one whose operator says so, or that is known to be the module's.
    """
    path_of = {node: path for node, (path, _) in placed.items()} | dict(known)
    reached = {node for node, (_, tells) in placed.items() if tells} | known.keys()
    stack = list(reached)
    while stack:
        node = stack.pop()
        for other in neighbours(node):
            if other not in reached and other in placed and path_of[other] == path_of[node]:
                reached.add(other)
                stack.append(other)
    return {node: path for node, (path, _) in placed.items() if node in reached}


def neighbours(node: ir.Node) -> list[ir.Node]:
    """The readers of a node's results and the producers of its inputs."""
    readers = [use.node for output in node.outputs for use in output.uses()]
    producers = [producer for value in node.inputs if value is not None and (producer := value.producer()) is not None]
    return [*readers, *producers]


class _Scores:
    """How well each operator of a trace explains a node."""

    def __init__(self, trace: Sequence[TorchOp]) -> None:
        self._names = np.array([op.name for op in trace])
        self._paths = np.array([op.path for op in trace])
        self._constant = np.array([op.constant for op in trace])
        self._fits: dict[str, np.ndarray] = {}
        self._at: dict[str, np.ndarray] = {}

    def of(self, node: ir.Node, path: str | None, reading: bool) -> np.ndarray:
        """By operator: 2 for the main node of an expansion, 1 for a part, -inf for no fit or another module.

        Args:
            node: The node.
            path: Its module, where that is known.
            reading: Whether its result depends on the model's inputs: then no constant operator explains it.
        """
        if node.op_type not in self._fits:
            by_name = {name: _fit(name, node.op_type) for name in set(self._names.tolist())}
            self._fits[node.op_type] = np.array([by_name[name] for name in self._names.tolist()])
        fit = np.where(self._constant, -np.inf, self._fits[node.op_type]) if reading else self._fits[node.op_type]
        if path is None:
            return fit
        if path not in self._at:
            self._at[path] = self._paths == path
        return np.where(self._at[path], np.maximum(fit, _PLACED), -np.inf)


def _fit(aten: str, op_type: str) -> float:
    if aten in EXPANSIONS:
        main, _, parts = EXPANSIONS[aten].partition("|")
        return _MAIN if op_type in main.split() else _PART if op_type in parts.split() else -np.inf
    return _MAIN if aten.strip("_").replace("_", "") == op_type.lower() else -np.inf
