"""Attention cleanup inside one layer of BERT-base and of Whisper-tiny's encoder, before and after, drawn.

``python -m examples.experiments.attention_drawn``
"""

from __future__ import annotations

import onnx_ir as ir

from examples.experiments.pass_order import exported_model
from examples.experiments.rows import arguments, write_result
from pytest_modelcheck.graph.metadata import contributors
from pytest_modelcheck.pipeline import resolve_passes, run_pipeline

LAYERS = (
    ("bert-base", "dynamo", "encoder.layer.0.attention.self"),
    ("bert-base", "torchscript", "encoder.layer.0.attention.self"),
    ("whisper-tiny-encoder", "dynamo", "layers.0.self_attn"),
    ("whisper-tiny-encoder", "torchscript", "layers.0.self_attn"),
)


def nodes_of(model: ir.Model, module: str) -> list[ir.Node]:
    """The nodes that a module, or a module inside it, owns; Constants left out."""
    return [node for node in model.graph if node.op_type != "Constant" and _belongs(node, module)]


def _belongs(node: ir.Node, module: str) -> bool:
    owners = contributors(node)
    return bool(owners) and f"{owners[0]}.".startswith(f"{module}.")


def drawing(model: ir.Model, module: str) -> str:
    """A mermaid graph of the module's nodes and the values between them."""
    nodes = nodes_of(model, module)
    numbers = {node: index for index, node in enumerate(nodes)}
    lines = ["```mermaid", "graph TD"]
    lines += [f'  n{index}["{node.op_type}{_detail(node)}"]' for node, index in numbers.items()]
    for node, index in numbers.items():
        for value in node.inputs:
            producer = None if value is None else value.producer()
            if producer in numbers:
                lines.append(f"  n{numbers[producer]} --> n{index}")
    return "\n".join([*lines, "```"])


def _detail(node: ir.Node) -> str:
    perm = node.attributes.get("perm")
    return f" {list(perm.as_ints())}" if perm is not None else ""


def main() -> None:
    given = arguments(__doc__).parse_args()
    parts = ["# Attention cleanup inside one layer"]
    for name, exporter, module in LAYERS:
        # Chains of shapes first: the pattern of an attention shows only once they are constants.
        base, _ = run_pipeline(
            exported_model(name, exporter, given.cache),
            resolve_passes(["fold_constants", "simplify_shape_chains", "eliminate_identity_ops"]),
        )
        cleaned, _ = run_pipeline(base, resolve_passes(["cleanup_attention"]))
        before, after = (len(nodes_of(each, module)) for each in (base, cleaned))
        parts += [f"## {name} by {exporter}, `{module}`: {before} -> {after} nodes"]
        parts += ["Before:", drawing(base, module), "After:", drawing(cleaned, module)]
    write_result("attention_drawn", "\n\n".join(parts))


if __name__ == "__main__":
    main()
