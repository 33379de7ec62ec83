"""Copies between host and device in a graph that an execution provider other than the CPU's runs.

onnxruntime puts a Memcpy node wherever a value crosses from a provider's device to the host or back, as before an
operator that has no kernel there. They stand in the graph as onnxruntime runs it, which it writes on request.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from pytest_modelcheck.runtimes import open_session

_COPIES = ("MemcpyFromHost", "MemcpyToHost")


def copies_across(model: Path, providers: Sequence[str]) -> dict[str, int]:
    """``{"MemcpyFromHost": 2, "MemcpyToHost": 1}`` of a file, as these execution providers run it; {} where none are.

    Raises:
        SessionError: if this onnxruntime does not have a provider, or it cannot load the model.
    """
    with tempfile.TemporaryDirectory(prefix="modelcheck-memcpy-") as folder:
        written = Path(folder) / "as_it_runs.onnx"
        open_session(model, optimizer=True, providers=providers, written=written)
        return count_copies(onnx.load(written, load_external_data=False))


def count_copies(model: onnx.ModelProto) -> dict[str, int]:
    """Memcpy nodes of a graph and its subgraphs."""
    counts: Counter[str] = Counter()
    graphs = [model.graph]
    while graphs:
        for node in graphs.pop().node:
            counts[node.op_type] += 1
            for attribute in node.attribute:
                graphs += [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
    return {name: counts[name] for name in _COPIES if counts[name]}


def copies_text(copies: Mapping[str, int]) -> str:
    """``"3 Memcpy nodes"``, with how many of each direction."""
    total = sum(copies.values())
    each = f" ({', '.join(f'{name} {count}' for name, count in copies.items())})" if copies else ""
    return f"{total} Memcpy node{'' if total == 1 else 's'}{each}"
