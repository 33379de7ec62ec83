"""The published counting rules (`rules="reference"`), kept so that published figures can be compared.

Over a symbolic trace, where modules are nodes:

1. Counted are calls of modules and functions; calls of methods are bookkeeping.
2. With `attention`, exactly three linears with one and the same first input become one subgraph.
3. A subgraph grows from t to u where t has exactly one reader of any kind, u is counted and in no subgraph yet, the
   pair of their types is listed, and u has at most one counted producer (a join is a boundary).

These rules call any three sibling Linears "QKV", and count tuples and getitems: `rules="default"` does neither.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from pytest_modelcheck.capture import Captured
from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.fusion.ops import node_type, owner_of
from pytest_modelcheck.fusion.report import FusionReport, Subgraph

PAIRS = frozenset(
    {
        ("LayerNorm", "MultiheadAttention"),
        ("LayerNorm", "Linear"),
        ("Linear", "GELU"),
        ("GELU", "Dropout"),
        ("Linear", "Dropout"),
    }
)
ATTENTION_PAIRS = frozenset({("matmul", "mul"), ("mul", "softmax"), ("softmax", "matmul")})


@dataclass(frozen=True, slots=True, eq=False)
class ReferencePartition:
    """What the published rules make of a trace.

    Attributes:
        counted: The counted nodes, in graph order.
        methods: Number of calls of methods.
        parts: The subgraphs, each in graph order, by their first node.
        groups: Those of `parts` that are three sibling linears.
        attention: Number of attention calls: modules, or softmaxes where they are written out.
    """

    counted: tuple[fx.Node, ...]
    methods: int
    parts: tuple[tuple[fx.Node, ...], ...]
    groups: tuple[tuple[fx.Node, ...], ...]
    attention: int


def reference_report(captured: Captured, *, attention: bool) -> FusionReport:
    """The report by the published rules; see `reference_partition`. FLOPs and bytes are not part of them."""
    found = reference_partition(captured, attention=attention)
    number_of = {node: number for number, part in enumerate(found.parts) for node in part}
    place = {node: index for index, node in enumerate(found.counted)}
    subgraphs = []
    for number, part in enumerate(found.parts):
        read = [number_of[source] for node in part for source in node.all_input_nodes if source in number_of]
        grouped = part in found.groups
        labels = tuple(node_type(captured, node) for node in part)
        owner, call = owner_of(part[-1])
        subgraphs.append(
            Subgraph(
                ops=labels,
                owner=owner,
                call=call,
                pattern="qkv" if grouped else "reference" if len(part) > 1 else "single",
                boundary="fork" if len(part[-1].users) != 1 else "join or no rule",
                sources=tuple(dict.fromkeys(source for source in read if source != number)),
                members=tuple(place[node] for node in part),
                form=(" | " if grouped else " > ").join(labels),
            )
        )
    return FusionReport(
        name=captured.name,
        nodes=len(found.counted),
        bookkeeping=found.methods,
        subgraphs=tuple(subgraphs),
        attention_layers=found.attention,
        qkv=len(found.groups),
    )


def reference_partition(captured: Captured, *, attention: bool) -> ReferencePartition:
    """Partition a symbolic trace by the published rules.

    Raises:
        OptionError: for a capture by torch.export, whose operators the rules do not know.
    """
    if captured.how != "symbolic_trace":
        raise OptionError(
            f"{captured.name}: rules='reference' needs a symbolic trace; capture with how='symbolic_trace'"
        )
    types = {node: node_type(captured, node) for node in captured.graph.nodes}
    counted = tuple(node for node in captured.graph.nodes if node.op in ("call_module", "call_function"))
    pairs = PAIRS | ATTENTION_PAIRS if attention else PAIRS
    groups = _sibling_linears(counted, types) if attention else []
    taken = {node for group in groups for node in group}
    chains = []
    for node in counted:
        if node not in taken:
            chains.append(_chain(node, types, set(counted), taken, pairs))
            taken.update(chains[-1])
    order = {node: index for index, node in enumerate(captured.graph.nodes)}
    return ReferencePartition(
        counted=counted,
        methods=sum(1 for node in captured.graph.nodes if node.op == "call_method"),
        parts=tuple(sorted([*groups, *chains], key=lambda part: order[part[0]])),
        groups=tuple(groups),
        attention=sum(1 for node in counted if types[node] in ("MultiheadAttention", "softmax")),
    )


def _sibling_linears(counted: tuple[fx.Node, ...], types: dict[fx.Node, str]) -> list[tuple[fx.Node, ...]]:
    by_input: dict[object, list[fx.Node]] = {}
    for node in counted:
        if types[node] in ("Linear", "linear") and node.args:
            by_input.setdefault(node.args[0], []).append(node)
    return [tuple(nodes) for nodes in by_input.values() if len(nodes) == 3]


def _chain(
    start: fx.Node,
    types: dict[fx.Node, str],
    counted: set[fx.Node],
    taken: set[fx.Node],
    pairs: frozenset[tuple[str, str]],
) -> tuple[fx.Node, ...]:
    chain = [start]
    while len(chain[-1].users) == 1:
        reader = next(iter(chain[-1].users))
        producers = [node for node in reader.all_input_nodes if node in counted]
        if reader not in counted or reader in taken or len(producers) > 1:
            break
        if (types[chain[-1]], types[reader]) not in pairs:
            break
        chain.append(reader)
    return tuple(chain)
