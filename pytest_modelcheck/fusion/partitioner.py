"""`partition`: a captured graph as fused subgraphs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from pytest_modelcheck.capture import Captured
from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.fusion.attention import AttentionLayer, attention_layers
from pytest_modelcheck.fusion.costs import Costs
from pytest_modelcheck.fusion.ops import Op, op_graph
from pytest_modelcheck.fusion.reference import reference_report
from pytest_modelcheck.fusion.report import FusionReport, Subgraph, total
from pytest_modelcheck.fusion.rules import RULE_SETS, Rule

RuleSet = Literal["default", "reference"]


@dataclass(eq=False, slots=True)
class _Part:
    ops: list[Op]
    rules: list[str]
    closed: bool = False

    @property
    def tail(self) -> Op:
        return self.ops[-1]


def partition(captured: Captured, *, rules: RuleSet = "default", attention: bool = True) -> FusionReport:
    """Partition the compute nodes of `captured` into fused subgraphs.

    A subgraph grows from its last operator t to u where t's result is read by u alone, a rule allows the pair, and u is
    in no subgraph yet; where the rule joins, u takes in other subgraphs that end before it in the same way. So a
    subgraph is a tree, and only its last operator is read from outside: subgraphs are connected and convex, and fusing
    all of them at once creates no cycle. With `attention`, projections that read one input and meet
    in one attention are grouped first, where none of them comes after anything that another reads.

    Args:
        captured: From `capture` or `decompose`.
        rules: ``"default"`` (`rules.DEFAULT_RULES`), or ``"reference"``: the published counting rules (`reference.py`),
            for symbolic traces.
        attention: False leaves the attention rules and the projection groups out.

    Raises:
        OptionError: for a rule set that does not exist, or does not fit the capture.
    """
    if rules == "reference":
        return reference_report(captured, attention=attention)
    if rules not in RULE_SETS:
        raise OptionError(f"rules {rules!r} is unknown; choose one of {', '.join([*RULE_SETS, 'reference'])}")
    graph = op_graph(captured)
    table = tuple(rule for rule in RULE_SETS[rules] if attention or not rule.attention)
    layers, groups = _projection_groups(attention_layers(graph))
    part_of: dict[Op, _Part] = {}
    if attention:
        for group in groups:
            part = _Part(sorted(group, key=lambda op: op.index), ["qkv"], closed=True)
            part_of.update(dict.fromkeys(part.ops, part))
    for op in graph.ops:
        if op not in part_of:
            _place(op, part_of, table)
    parts = sorted(dict.fromkeys(part_of.values()), key=lambda part: part.ops[0].index)
    numbers = {part: number for number, part in enumerate(parts)}
    costs = Costs(captured.graph_module)
    return FusionReport(
        name=captured.name,
        nodes=len(graph.ops),
        bookkeeping=graph.bookkeeping,
        subgraphs=tuple(_subgraph(part, part_of, numbers, table, costs) for part in parts),
        attention_layers=len(layers),
        qkv=sum(1 for layer in layers if not layer.reason) if attention else 0,
        unfused=tuple((layer.owner, layer.reason) for layer in layers if layer.reason),
        apart=tuple((layer.owner, layer.apart) for layer in layers if layer.apart and not layer.reason)
        if attention
        else (),
        outputs=tuple(-1 if op is None else numbers[part_of[op]] for op in graph.outputs),
    )


def _projection_groups(
    layers: Iterable[AttentionLayer],
) -> tuple[tuple[AttentionLayer, ...], tuple[tuple[Op, ...], ...]]:
    """The groups that can be fused, and the layers, with a reason where one of theirs cannot."""
    taken: dict[Op, tuple[Op, ...]] = {}
    checked = []
    for layer in layers:
        reason = layer.reason
        for group in layer.groups:
            if len(group) == 1 or reason or all(taken.get(op) == group for op in group):
                continue
            if any(op in taken for op in group):
                reason = "shares a projection with another attention"
            elif not _are_side_by_side(group):
                reason = "one projection reads what another makes"
            else:
                taken.update(dict.fromkeys(group, group))
        checked.append(replace(layer, reason=reason))
    return tuple(checked), tuple(dict.fromkeys(taken.values()))


def _are_side_by_side(group: tuple[Op, ...]) -> bool:
    """Whether everything that the group reads is made before any of it: then fusing it cannot close a cycle."""
    first = min(op.index for op in group)
    return all(producer.index < first for op in group for producer in op.inputs)


def _place(op: Op, part_of: dict[Op, _Part], table: tuple[Rule, ...]) -> None:
    """Put `op` into the subgraph of the first rule that fits, and take in the others that a joining rule allows."""
    ended = [
        part_of[producer]
        for producer in op.inputs
        if len(producer.users) == 1 and not producer.is_output and not part_of[producer].closed
    ]
    home: _Part | None = None
    for rule in table:
        for part in ended:
            if part is not home and part.tail.name in rule.producers and op.name in rule.consumers:
                if home is None:
                    home = part
                    home.rules.append(rule.name)
                elif rule.joins:
                    home.rules += [*part.rules, rule.name]
                    home.ops = sorted([*home.ops, *part.ops], key=lambda member: member.index)
                    part_of.update(dict.fromkeys(part.ops, home))
                    ended = [other for other in ended if other is not part]
    if home is None:
        home = _Part([], [])
    home.ops.append(op)  # it comes after all the others
    part_of[op] = home


def _subgraph(
    part: _Part, part_of: dict[Op, _Part], numbers: dict[_Part, int], table: tuple[Rule, ...], costs: Costs
) -> Subgraph:
    inside = () if part.closed else part.ops[:-1]  # only the last is read from outside; of grouped projections, all are
    ordered = part.ops if part.closed else _in_order_of_arguments(part.tail, set(part.ops))
    sources = [part_of[producer] for op in ordered for producer in op.inputs if part_of[producer] is not part]
    return Subgraph(
        ops=tuple(op.label for op in part.ops),
        owner=_common_owner(part.ops),
        pattern=", ".join(dict.fromkeys(part.rules)) or "single",
        boundary=_boundary(part, part_of, table),
        call=part.ops[0].call,
        sources=tuple(dict.fromkeys(numbers[source] for source in sources)),
        members=tuple(op.index for op in part.ops),
        form=" | ".join(op.label for op in part.ops) if part.closed else _form(part.tail, set(part.ops)),
        flops=total(costs.flops(op) for op in part.ops),
        internal_bytes=total(costs.result_bytes(op) for op in inside),
    )


def _in_order_of_arguments(tail: Op, members: set[Op]) -> list[Op]:
    """The members as `_form` writes them, whatever the order of independent nodes in the graph."""
    ordered: list[Op] = []
    stack = [tail]
    while stack:
        op = stack.pop()
        ordered.append(op)
        stack += [producer for producer in op.inputs if producer in members]
    return ordered[::-1]


def _form(tail: Op, members: set[Op]) -> str:
    text: list[str] = []
    stack: list[Op | str] = [tail]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            text.append(item)
            continue
        inside = [producer for producer in item.inputs if producer in members]
        stack.append(f" > {item.label}" if inside else item.label)
        if len(inside) > 1:
            stack.append(")")
        for position, producer in enumerate(reversed(inside)):
            stack += [", ", producer] if position else [producer]
        if len(inside) > 1:
            stack.append("(")
    return "".join(text)


def _boundary(part: _Part, part_of: dict[Op, _Part], table: tuple[Rule, ...]) -> str:
    tail = part.tail
    if tail.is_output or not tail.users:
        return "output"
    if part.closed or len(tail.users) > 1:
        return "fork"
    reader = tail.users[0]
    if any(tail.name in rule.producers and reader.name in rule.consumers for rule in table):
        return "grouped" if part_of[reader].closed else "join"
    return f"no rule for {tail.name} -> {reader.name}"


def _common_owner(ops: list[Op]) -> str:
    atoms = sorted({tuple(op.owner.split(".")) for op in ops})
    first, last = atoms[0], atoms[-1]
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return ".".join(first[:length])
