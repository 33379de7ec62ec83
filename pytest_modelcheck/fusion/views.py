"""`analyse`: one captured model, seen whole and with attention written out."""

from __future__ import annotations

import dataclasses

from pytest_modelcheck.capture import Captured, compare_runs, decompose
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.fusion.ops import op_graph
from pytest_modelcheck.fusion.partitioner import partition
from pytest_modelcheck.fusion.report import FusionReport


def analyse(captured: Captured) -> FusionReport:
    """Write attention out, check that the outputs stay the same, and partition the result.

    The report also carries what the two views differ in: how many compute nodes the model has with attention left
    whole, and how many subgraphs the same graph has without the attention rules.

    Raises:
        ModelCheckError: if attention cannot be written out, or the outputs are others then.
    """
    decomposed = decompose(captured)
    compared = compare_runs(captured, decomposed)
    if compared.difference is not None and not compared.agrees:
        raise ModelCheckError(
            f"{captured.name}: with attention written out the outputs differ by {compared.difference:.1e} of their "
            f"scale, allowed is {compared.tolerance:.0e}; partition the capture itself, and report the model to us"
        )
    return dataclasses.replace(
        partition(decomposed),
        opaque_nodes=len(op_graph(captured).ops),
        baseline_subgraphs=len(partition(decomposed, attention=False).subgraphs),
        difference=compared.difference,
        not_compared="tensors on the meta device hold no values" if compared.difference is None else "",
    )
