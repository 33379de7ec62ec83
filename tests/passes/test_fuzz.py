"""325 random graphs; ``python -m benchmarks.fuzz`` goes on for as long as one likes.

Each is valid after the pipeline, computes the same, and has nothing left for a second run.
"""

import collections

import numpy as np
import onnx
import pytest

from pytest_modelcheck.passes.eliminate_identity_ops import EliminateIdentityOps
from tests.passes.fuzzing import INSIDE, TARGETS, check_seed
from tests.passes.random_operators import OPERATORS
from tests.passes.random_programs import draw_program
from tests.passes.random_steps import STEPS


@pytest.mark.parametrize("block", range(10))
def test_random_graphs_survive_the_pipeline(block: int) -> None:
    seeds = range(block * 30, block * 30 + 30)
    done = [where for seed in seeds if (where := check_seed(seed))]
    assert len(done) >= 20


def test_graphs_of_rare_operators_survive_the_pipeline() -> None:
    assert len([where for seed in range(25) if (where := check_seed(seed, OPERATORS))]) >= 20


def test_every_rare_operator_is_drawn() -> None:
    drawn = [model for seed in range(60) if (model := draw_program(seed, OPERATORS)) is not None]
    ops = {node.op_type for model in drawn for node in model.graph.node}
    assert ops >= {"Einsum", "GatherElements", "Loop", "NonZero", "Pad", "QuantizeLinear", "Resize", "Scan", "TopK"}
    assert ops & {"GRU", "LSTM", "RNN"}


def test_every_step_every_place_and_every_target_is_drawn() -> None:
    ops: collections.Counter[str] = collections.Counter()
    opsets, dtypes = set(), set()
    for seed in range(300):
        model = draw_program(seed, STEPS)
        assert model is not None
        ops.update(node.op_type for node in model.graph.node)
        opsets.add(model.opset_import[0].version)
        dtypes |= {value.type.tensor_type.elem_type for value in model.graph.input}
    assert {"If", "Split", "Conv", "BatchNormalization", "Softmax", "Where", "Tile", "Gather", "Slice"} <= set(ops)
    assert (min(opsets), max(opsets), len(dtypes)) == (11, 23, 7)
    assert (len(INSIDE), len(TARGETS)) == (5, 3)


def test_a_wrong_rewrite_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def drop_every_negation(self: EliminateIdentityOps, rewriter) -> None:  # type: ignore[no-untyped-def]
        for node in rewriter.nodes("Neg"):
            if rewriter.can_replace_value(node.outputs[0], node.inputs[0]):
                rewriter.replace([node], [], {node.outputs[0]: node.inputs[0]})

    monkeypatch.setattr(EliminateIdentityOps, "rewrite", drop_every_negation)
    with pytest.raises(AssertionError, match=r"seed \d+ in .*: eliminate_identity_ops, rule .* differs"):
        collections.deque(map(check_seed, range(60)))


def test_the_graph_of_a_seed_is_always_the_same() -> None:
    first, second = (draw_program(7, STEPS) for _ in range(2))
    assert isinstance(first, onnx.ModelProto)
    assert second is not None
    assert np.array_equal(first.SerializeToString(deterministic=True), second.SerializeToString(deterministic=True))
