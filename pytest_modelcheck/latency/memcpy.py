"""Copies between host and device in a graph that an execution provider other than the CPU's runs.

onnxruntime puts a Memcpy node wherever a value crosses from a provider's device to the host or back, as before an
operator that has no kernel there. They are in the graph as onnxruntime runs it, which it writes on request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import onnx

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.runtimes import How, installed_runtime

_COPIES = ("MemcpyFromHost", "MemcpyToHost")


def copies_across(model: Path, how: How) -> dict[str, int]:
    """``{"MemcpyFromHost": 2, "MemcpyToHost": 1}`` of a file, as this provider runs it; {} where there are none.

    Raises:
        SessionError: if the runtime does not have the provider, or it cannot load the model.
        OptionError: for a runtime that does not give its graph.
    """
    runtime = installed_runtime(how.runtime)
    if runtime.optimize is None:
        raise OptionError(f"{runtime.name} does not give the graph that it runs")
    return count_copies(runtime.optimize(model, how, runtime.levels[-1], False).model)


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
