"""Does the order of passes matter? All 24 orders of four passes, and which pass enables or blocks which.

``python -m examples.experiments.pass_order [--models bert-base:torchscript ...]``
"""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import onnx_ir as ir

from examples.experiments.rows import Row, arguments, signed, table, write_result
from examples.zoo.registry import case
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.graph.counts import count_nodes
from pytest_modelcheck.pipeline import resolve_passes, run_pipeline

FOUR = ("fold_constants", "simplify_shape_chains", "fuse_matmul_add", "cleanup_attention")
CASES = tuple(
    f"{name}:{how}"
    for name in ("bert-base", "whisper-tiny-encoder", "whisper-tiny-decoder")
    for how in ("dynamo", "torchscript")
)


class Orders:
    """The node count after any sequence of the passes; sequences share what they have in common."""

    def __init__(self, exported: ir.Model) -> None:
        self._models: dict[tuple[str, ...], ir.Model] = {(): exported}

    def nodes(self, sequence: tuple[str, ...]) -> int:
        return count_nodes(self._after(sequence))

    def change(self, before: tuple[str, ...], name: str) -> int:
        """What `name` changes after `before`."""
        return self.nodes((*before, name)) - self.nodes(before)

    def _after(self, sequence: tuple[str, ...]) -> ir.Model:
        if sequence not in self._models:
            self._models[sequence], _ = run_pipeline(self._after(sequence[:-1]), resolve_passes(sequence[-1:]))
        return self._models[sequence]


def effects(orders: Orders) -> list[Row]:
    """(first, then, alone, after): what `then` changes alone and after `first`, where the two differ."""
    found = []
    for first, then in permutations(FOUR, 2):
        alone, after = orders.change((), then), orders.change((first,), then)
        if alone != after:
            effect = "enables" if after < alone else "takes over from"
            together, reverse = orders.nodes((first, then)), orders.nodes((then, first))
            if effect != "enables" and together > reverse:
                effect = "blocks"
            found.append({"first": first, "then": then, "alone": alone, "after": after, "effect": effect})
    return found


def report_one(name: str, exporter: str, exported: ir.Model) -> str:
    orders = Orders(exported)
    totals = {" > ".join(order): orders.nodes(order) for order in permutations(FOUR)}
    found = effects(orders)
    start, best, worst = orders.nodes(()), min(totals.values()), max(totals.values())
    lines = [
        [f"{'**' if nodes == best else ''}{order}{'**' if nodes == best else ''}", nodes, signed(nodes - start)]
        for order, nodes in sorted(totals.items(), key=lambda item: item[1])
    ]
    graph = ["```mermaid", "graph LR"]
    graph += [
        f"  {e['first']} -->|{e['effect']}: {signed(e['alone'])} becomes {signed(e['after'])}| {e['then']}"
        for e in found
    ]
    graph += ["```"] if found else []
    text = [
        f"## {name} by {exporter}: {start} nodes, {best} after the best order, {worst} after the worst",
        table(["order", "nodes", "change"], lines),
        "\n".join(graph) if found else "No pass changes what another one does: the order is free.",
    ]
    return "\n\n".join(text)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="*", default=CASES, help="model:exporter")
    given = parser.parse_args()
    parts = ["# All orders of four passes", f"{', '.join(FOUR)}, each once, nothing before them."]
    for named in given.models:
        name, _, exporter = named.partition(":")
        parts.append(report_one(name, exporter, exported_model(name, exporter, given.cache)))
    write_result("pass_order", "\n\n".join(parts))


def exported_model(name: str, exporter: str, cache: Path) -> ir.Model:
    return ModelCheck(case(name, exporter), cache=cache).graphs.exported_model


if __name__ == "__main__":
    main()
