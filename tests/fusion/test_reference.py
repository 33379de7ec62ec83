"""The published counts of the two vision transformers, reproduced exactly."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn

from pytest_modelcheck.capture import Captured, capture, decompose
from pytest_modelcheck.errors import ModelCaseError, OptionError
from pytest_modelcheck.fusion import FusionReport, partition
from tests.fusion.vision_transformer import VisionTransformer
from tests.structure_models import bert_case, module_case

LAYERS = {"ViT-B/16": 12, "ViT-L/16": 24}


def traced(module: nn.Module, *shapes: tuple[int, ...]) -> Captured:
    made = capture(module_case(module.eval(), *shapes), how="symbolic_trace")
    assert isinstance(made, Captured), made.render()
    return made


@cache
def vision_transformer(name: str) -> Captured:
    """The graph does not depend on the widths: small ones serve."""
    module = VisionTransformer(layers=LAYERS[name], width=32, heads=4, hidden=64, image=32, patch=16, classes=5)
    return traced(module, (1, 3, 32, 32))


def counts(report: FusionReport) -> tuple[int, int, int, float, str]:
    """(nodes, counted, subgraphs, mean size, qkv)."""
    qkv = f"{report.qkv}/{report.attention_layers}"
    return (
        report.nodes + report.bookkeeping,
        report.nodes,
        len(report.subgraphs),
        round(report.mean_size, 4),
        qkv,
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [("ViT-B/16", (232, 216, 156, 1.3846, "0/12")), ("ViT-L/16", (436, 408, 288, 1.4167, "0/24"))],
)
def test_the_published_baseline_counts(name: str, expected: tuple[int, int, int, float, str]) -> None:
    assert counts(partition(vision_transformer(name), rules="reference", attention=False)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("ViT-B/16", (472, 312, 204, 1.5294, "12/12")), ("ViT-L/16", (916, 600, 384, 1.5625, "24/24"))],
)
def test_the_published_enhanced_counts(name: str, expected: tuple[int, int, int, float, str]) -> None:
    assert counts(partition(decompose(vision_transformer(name)), rules="reference")) == expected


def test_on_one_and_the_same_graph_the_published_rules_give_264_and_204() -> None:
    graph = decompose(vision_transformer("ViT-B/16"))
    without, with_attention = (partition(graph, rules="reference", attention=on) for on in (False, True))
    assert (len(without.subgraphs), len(with_attention.subgraphs)) == (264, 204)


def test_each_counted_node_is_in_exactly_one_subgraph() -> None:
    report = partition(decompose(vision_transformer("ViT-B/16")), rules="reference")
    assert sorted(member for subgraph in report.subgraphs for member in subgraph.members) == list(range(report.nodes))


def test_the_written_out_trace_computes_the_same_and_shares_the_weights() -> None:
    captured = vision_transformer("ViT-B/16")
    decomposed = decompose(captured)
    assert not any(
        isinstance(decomposed.graph_module.get_submodule(str(node.target)), nn.MultiheadAttention)
        for node in decomposed.graph.nodes
        if node.op == "call_module"
    )
    (got,), (wanted,) = decomposed.run(), captured.run()
    assert float((got - wanted).abs().max()) <= 1e-5 * max(1.0, float(wanted.abs().max()))
    packed = captured.graph_module.get_parameter("encoder.layers.encoder_layer_0.self_attention.in_proj_weight")
    query = next(buffer for name, buffer in decomposed.graph_module.named_buffers() if name.endswith("_q_weight"))
    assert query.data_ptr() == packed.data_ptr()


@pytest.mark.parametrize(
    "options", [{"kdim": 8}, {"batch_first": False}, {"add_zero_attn": True}, {"add_bias_kv": True}]
)
def test_a_form_that_is_not_written_out_is_refused_with_the_way_out(options: dict[str, int]) -> None:
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 2, **({"batch_first": True} | options))

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.attention(x, y, x, need_weights=False)[0]

    with pytest.raises(ModelCaseError, match="how='export'"):
        decompose(traced(Attend(), (1, 3, 16), (1, 3, options.get("kdim", 16))))


def test_the_published_rules_need_a_symbolic_trace() -> None:
    made = capture(bert_case())
    assert isinstance(made, Captured)
    with pytest.raises(OptionError, match="symbolic_trace"):
        partition(made, rules="reference")


def test_an_unknown_rule_set_is_refused_by_name() -> None:
    with pytest.raises(OptionError, match="choose one of default, reference"):
        partition(vision_transformer("ViT-B/16"), rules="best")  # type: ignore[arg-type]
