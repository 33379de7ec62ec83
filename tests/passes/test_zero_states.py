"""A recurrent operator begins with zeros by itself: computed zeros are dropped, everything else stays."""

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck.graph.counts import op_counts
from pytest_modelcheck.passes.eliminate_identity_ops import EliminateIdentityOps
from pytest_modelcheck.pipeline import optimize
from tests.passes.fusing_checks import fires, ignores, make, outputs
from tests.passes.rule_cases import RuleCase

DRAW = np.random.default_rng(0)
WEIGHTS = {"w": DRAW.normal(size=(1, 8, 3)).astype(np.float32), "r": DRAW.normal(size=(1, 8, 2)).astype(np.float32)}
LENGTHS = {"at": np.array([1]), "one": np.array([1]), "hidden": np.array([2])}
STATE = "s = Shape (x) n = Gather (s, at) t = Concat <axis = 0> (one, n, hidden)"


def lstm(body: str, states: str = "h, h", **weights: np.ndarray) -> onnx.ModelProto:
    named = set(re.findall(r"\w+", f"{body} {states} w r"))
    return make(
        f"""<ir_version: 8, opset_import: ["" : 17]> g (float[T,N,3] x) => (float[T,1,N,2] y) {{
            {body} y = LSTM <hidden_size = 2> (x, w, r, , , {states})
        }}""",
        **{name: array for name, array in {**WEIGHTS, **LENGTHS, **weights}.items() if name in named},
    )


ZEROS = [
    f"{STATE} h = ConstantOfShape (t)",
    f"{STATE} z = ConstantOfShape (t) j = Concat <axis = 0> (z, z) h = Slice (j, zero, one)",
    f"{STATE} h = Expand (nothing, t)",
    f"{STATE} z = ConstantOfShape (t) u = Transpose <perm = [0, 1, 2]> (z) h = Identity (u)",
]


@pytest.mark.parametrize("body", ZEROS)
def test_zeros_that_are_computed_go_with_all_that_computed_them(body: str) -> None:
    model = lstm(body, zero=np.array([0]), nothing=np.zeros((1, 1, 1), np.float32))

    assert fires(EliminateIdentityOps(), model) == {"LSTM": 1}


@pytest.mark.parametrize(
    ("body", "states"),
    [
        (f"{STATE} h = ConstantOfShape <value = float[1] {{1.0}}> (t)", "h, h"),
        (f"{STATE} z = ConstantOfShape (t) h = Cos (z)", "h, h"),
    ],
)
def test_other_states_stay(body: str, states: str) -> None:
    ignores(EliminateIdentityOps(), lstm(body, states))


def test_one_of_two_states_can_be_dropped() -> None:
    model = lstm(f"{STATE} h = ConstantOfShape (t) c = Cos (h)", "h, c")
    after = optimize(model)

    assert list(after.graph.node[-1].input)[5:] == ["", after.graph.node[-1].input[6]]
    given = {"x": DRAW.normal(size=(4, 2, 3)).astype(np.float32)}
    np.testing.assert_allclose(outputs(after, given)["y"], outputs(model, given)["y"], atol=1e-6)


@pytest.mark.parametrize(("kind", "nodes"), [(torch.nn.LSTM, 8), (torch.nn.GRU, 8)])
def test_two_layers_in_both_directions_by_torchscript(kind: type[torch.nn.Module], nodes: int, tmp_path) -> None:  # type: ignore[no-untyped-def]
    module = kind(6, 4, num_layers=2, bidirectional=True, batch_first=True).eval()
    axes = {"x": {0: "batch", 1: "time"}}
    path = tmp_path / "rnn.onnx"
    torch.onnx.export(
        module, (torch.randn(2, 5, 6),), path, dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes=axes
    )
    model = onnx.load(path)
    del model.graph.output[1:]
    after = optimize(model)

    assert sum(op_counts(ir.from_proto(after)).values()) <= nodes
    given = {"x": DRAW.normal(size=(3, 7, 6)).astype(np.float32)}
    np.testing.assert_allclose(outputs(after, given)["y"], outputs(model, given)["y"], atol=1e-6)


CASES = (
    RuleCase(
        rule="zero state",
        pass_=EliminateIdentityOps(),
        fires=lstm(ZEROS[0]),
        counts={"LSTM": 1},
        refused=lstm("", "one_each, one_each", one_each=np.ones((1, 3, 2), np.float32)),
        reason="the initial state is not zero everywhere",
    ),
)
