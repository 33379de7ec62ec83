"""Attention by data flow: where a softmax(Q K^T) V is, and which projections make its Q, K and V."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pytest_modelcheck.fusion.ops import Op, OpGraph
from pytest_modelcheck.fusion.rules import (
    ATTENTION,
    CONV,
    GATHER,
    LINEAR,
    MATMUL,
    NORM,
    POINTWISE,
    SOFTMAX,
    VIEW,
    names,
)

_THROUGH_WEIGHTS = POINTWISE | VIEW | names("tanh")
"""Between a softmax and the product it reads or weighs; tanh is the soft cap of scores (Gemma 2)."""

_THROUGH_HEADS = (
    (POINTWISE - names("sin cos"))
    | VIEW
    | NORM
    | GATHER
    | names("cat repeat repeat_interleave stack roll type_as mean sum linalg_vector_norm view_as_complex view_as_real")
    | names("slice_scatter select_scatter copy")
)
"""Between a projection and its head: its layout, a normalization, a rotation; keys that are written into an empty
tensor part by part (DeepSeek V3) are concatenated, too. The angles of a rotation are left out:
what stands behind their sin and cos is often a product, ``inverse_frequencies @ positions``, and no projection."""


@dataclass(frozen=True, slots=True, eq=False)
class AttentionLayer:
    """One softmax(Q K^T) V.

    Attributes:
        core: The operator that weighs V: an SDPA call, or the last matmul.
        owner: Module path of the core.
        groups: Projections that read one input, as one group each: ``(q, k, v)``, ``(q,)`` and ``(k, v)`` for
            cross-attention, one packed projection alone.
        reason: Why the projections could not be grouped; empty where they are.
        apart: Which of them read inputs of their own, as in cross-attention: ``"Q | K V"``; empty where all three
            read one input.
    """

    core: Op
    owner: str
    groups: tuple[tuple[Op, ...], ...]
    reason: str = ""
    apart: str = ""


def attention_layers(graph: OpGraph) -> tuple[AttentionLayer, ...]:
    """Every attention of the graph, in graph order."""
    return tuple(_layer(core, *operands) for core, operands in _cores(graph))


def _cores(graph: OpGraph) -> Iterator[tuple[Op, tuple[Op | None, Op | None, Op | None]]]:
    for op in graph.ops:
        if op.name in ATTENTION:
            query, key, value = (graph.of(argument) for argument in op.node.args[:3])
            yield op, (query, key, value)
        elif op.name in MATMUL:
            left, right = (graph.of(argument) for argument in op.node.args[-2:])
            for weights, value in ((left, right), (right, left)):  # P V, or as columns, V^T P^T (YOLO's area attention)
                if (scores := _scores(weights, graph)) is not None:
                    query, key = (graph.of(argument) for argument in scores.node.args[-2:])
                    yield op, (query, key, value)
                    break


def _scores(weights: Op | None, graph: OpGraph) -> Op | None:
    """The product Q K^T whose softmax is `weights`; None where they are something else."""
    softmax = _first(weights, SOFTMAX, _THROUGH_WEIGHTS)
    scores = _first(softmax.inputs[0], MATMUL, _THROUGH_WEIGHTS) if softmax and softmax.inputs else None
    if scores is None or graph.is_weight(scores.node.args[-1]):  # by a weight it is a projection
        return None
    return scores


def _first(start: Op | None, wanted: frozenset[str], through: frozenset[str]) -> Op | None:
    """The nearest operator of `wanted` behind `start`, looking only through operators of `through`."""
    queue, seen = [start] if start else [], set()
    while queue:
        op = queue.pop(0)
        if op.name in wanted:
            return op
        if op.name in through and op not in seen:
            seen.add(op)
            queue += op.inputs
    return None


def _layer(core: Op, query: Op | None, key: Op | None, value: Op | None) -> AttentionLayer:
    found = {}
    for role, start in (("Q", query), ("K", key), ("V", value)):
        projections = _projections(start)
        if len(projections) != 1:
            what = "no projection" if not projections else f"{len(projections)} projections"
            return AttentionLayer(core, core.owner, (), f"{what} behind {role}")
        found[role] = projections[0]
    by_input: dict[object, dict[str, Op]] = {}
    for role, projection in found.items():
        source = projection.arguments[0] if projection.arguments else None
        by_input.setdefault(source, {})[role] = projection
    if len(by_input) == 3 and _is_added_to(found["V"], found["K"]):
        by_input = {"Q": {"Q": found["Q"]}, "V": {"K": found["K"], "V": found["V"]}}
    groups = tuple(tuple(dict.fromkeys(group.values())) for group in by_input.values())
    if len(groups) == 3:
        return AttentionLayer(core, core.owner, groups, "Q, K and V read three different inputs")
    apart = " | ".join(" ".join(group) for group in by_input.values()) if len(groups) > 1 else ""
    return AttentionLayer(core, core.owner, groups, apart=apart)


def _is_added_to(plain: Op, positioned: Op) -> bool:
    """Whether one projection reads a sum of what the other one reads: DETR's keys have positions, its values do not."""
    source = positioned.arguments[0] if positioned.arguments else None
    return (
        isinstance(source, Op)
        and source.name == "add"
        and plain.arguments[:1] != []
        and (plain.arguments[0] in source.arguments)
    )


def _projections(start: Op | None) -> list[Op]:
    """The nearest operators with a weight behind one operand of the attention."""
    queue, seen, found = [start] if start else [], set(), []
    while queue:
        op = queue.pop(0)
        if op in seen:
            continue
        seen.add(op)
        if op.has_parameter and op.name in LINEAR | CONV | MATMUL:
            found.append(op)
        elif op.name in _THROUGH_HEADS:
            queue += op.inputs
    return [one for one in found if not any(_reads(other, one) for other in found)]


def _reads(op: Op, source: Op) -> bool:
    """Whether `op` reads a result of `source`, over any way.

    Latent attention (DeepSeek V3) makes a part of the key of the compressed projection itself, and the rest of a
    second projection that reads it: the second one is the key's.
    """
    queue, seen = [*op.inputs], set()
    while queue:
        each = queue.pop()
        if each is source:
            return True
        if each.index > source.index and each not in seen:
            seen.add(each)
            queue += each.inputs
    return False
