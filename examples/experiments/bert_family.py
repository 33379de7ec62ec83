"""Are the attentions of the BERT family one pattern? Canonical forms per layer, compared over models.

``python -m examples.experiments.bert_family``
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from examples.experiments.rows import Row, arguments, table, write_result
from examples.zoo.registry import case
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.graph.metadata import contributors

FAMILY = ("bert-base", "bert-large", "distilbert", "roberta-base", "albert-base-v2")
_ATTENTION = re.compile(r"^(.*?\.\d+)\.(attention\b.*)$")
"""Layer, and the path inside it, of a module that belongs to an attention."""


def torch_patterns(check: ModelCheck) -> Counter[tuple[str, ...]]:
    """The fused subgraphs of one layer's attention, in order -> how many layers have exactly these."""
    layers: dict[tuple[str, int], list[str]] = {}
    for subgraph in check.fusion.subgraphs:
        if found := _ATTENTION.match(subgraph.owner or ""):
            layers.setdefault((found[1], subgraph.call), []).append(subgraph.form)
    return Counter(map(tuple, layers.values()))


def onnx_patterns(check: ModelCheck, stage: str) -> Counter[tuple[tuple[str, int], ...]]:
    """Operators of one layer's attention with their counts -> how many layers have exactly these."""
    layers: dict[str, Counter[str]] = {}
    for node in check.graphs.graph(stage).graph:
        owners = contributors(node)
        if owners and node.op_type != "Constant" and (found := _ATTENTION.match(owners[0])):
            layers.setdefault(found[1], Counter()).update([node.op_type])
    return Counter(tuple(sorted(ops.items())) for ops in layers.values())


def measure(name: str, cache: Path) -> Row:
    """All patterns of one model, with the number of layers that have them."""
    check = ModelCheck(case(name, "dynamo"), cache=cache)
    exported, optimized = onnx_patterns(check, "exported"), onnx_patterns(check, "optimized")
    return {
        "model": name,
        "torch": [[count, list(forms)] for forms, count in torch_patterns(check).most_common()],
        "exported": [[count, _text(ops)] for ops, count in exported.most_common()],
        "optimized": [[count, _text(ops)] for ops, count in optimized.most_common()],
    }


def _text(ops: tuple[tuple[str, int], ...]) -> str:
    return ", ".join(f"{op} {count}" for op, count in ops)


def section(title: str, rows: list[Row], kind: str) -> str:
    """Which models share which pattern: the patterns, most shared first, then layers per pattern."""
    patterns: dict[str, dict[str, int]] = {}
    for row in rows:
        for count, pattern in row[kind]:
            text = pattern if isinstance(pattern, str) else " ; ".join(pattern)
            patterns.setdefault(text, {})[row["model"]] = count
    ordered = sorted(patterns.items(), key=lambda item: -sum(item[1].values()))
    header = ["pattern", *(row["model"] for row in rows)]
    lines = [[chr(65 + index), *(has.get(row["model"], 0) for row in rows)] for index, (_, has) in enumerate(ordered)]
    named = [f"- {chr(65 + index)}: {text}" for index, (text, _) in enumerate(ordered)]
    return "\n".join([f"## {title}", "", "Layers that have each pattern.", "", table(header, lines), *named])


def main() -> None:
    given = arguments(__doc__).parse_args()
    rows = [measure(name, given.cache) for name in FAMILY]
    parts = [
        "# One attention for the whole family?",
        section("In torch, as fused subgraphs", rows, "torch"),
        section("In the export", rows, "exported"),
        section("After the pipeline", rows, "optimized"),
    ]
    write_result("bert_family", "\n\n".join(parts))


if __name__ == "__main__":
    main()
