"""Example values on the nodes of a symbolic trace, as torch.export puts them there."""

from __future__ import annotations

import contextlib

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.passes.fake_tensor_prop import FakeTensorProp

from pytest_modelcheck.calling import ModuleInputs
from pytest_modelcheck.capture.arguments import placeholder_values


def record_values(traced: torch.fx.GraphModule, inputs: ModuleInputs) -> None:
    """Set ``node.meta["val"]`` to fake tensors: shapes and dtypes, nothing is computed.

    Nodes from the first one on that needs real numbers (`nonzero`, `item`) stay without.
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it has no fake form
    try:
        with contextlib.suppress(RuntimeError), FakeTensorMode(allow_non_fake_inputs=True) as mode:
            FakeTensorProp(traced, mode).propagate(*placeholder_values(traced.graph, inputs))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
