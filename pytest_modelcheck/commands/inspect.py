"""``python -m pytest_modelcheck inspect FILE``."""

from __future__ import annotations

import argparse
from typing import Any

from pytest_modelcheck.commands.output import add_json, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file."""
    parser.add_argument("file", metavar="FILE")
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what a file holds: interface, operators, and how many nodes have a known owner."""
    from pytest_modelcheck.graph.counts import count_nodes, op_counts
    from pytest_modelcheck.graph.files import load_model
    from pytest_modelcheck.hierarchy import hierarchy_of_model
    from pytest_modelcheck.interface import Port, interface_of, interface_text

    model = load_model(arguments.file)
    owners, found = hierarchy_of_model(model), interface_of(model)

    def row(role: str, port: Port) -> dict[str, Any]:
        return {
            "role": role,
            "name": port.name,
            "type": port.dtype,
            "shape": None if port.dims is None else list(port.dims),
        }

    figures = {
        "interface": [*(row("input", port) for port in found.inputs), *(row("output", port) for port in found.outputs)],
        "opsets": dict(found.opsets),
        "ir_version": found.ir_version,
        "external_data": found.external,
        "initializer_bytes": dict(found.bytes),
        "metadata": list(found.metadata),
        "nodes": count_nodes(model),
        "constants": count_nodes(model, constants=True) - count_nodes(model),
        "operators": op_counts(model),
        "coverage": owners.coverage,
        "reason": owners.reason,
    }
    show(arguments, figures, [*interface_text(found).splitlines(), *_lines(figures)])
    return 0


def _lines(figures: dict[str, Any]) -> list[str]:
    reason = f" ({figures['reason']})" if figures["reason"] else ""
    return [
        f"nodes: {figures['nodes']}, and {figures['constants']} Constants",
        f"owners: {100 * figures['coverage']:.1f}% of the compute nodes{reason}",
        *(f"  {count:>6}  {op}" for op, count in sorted(figures["operators"].items(), key=lambda item: -item[1])),
    ]
