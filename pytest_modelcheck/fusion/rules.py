"""The rules by which fused subgraphs grow: a table of which operator may follow which."""

from __future__ import annotations

from dataclasses import dataclass


def names(text: str) -> frozenset[str]:
    """A set of operator names, written as one text with spaces between."""
    return frozenset(text.split())


LINEAR = frozenset({"linear", "addmm", "mm"})
CONV = frozenset({"conv1d", "conv2d", "conv3d", "convolution"})
MATMUL = frozenset({"matmul", "bmm", "baddbmm"})
SOFTMAX = frozenset({"softmax", "_softmax", "_safe_softmax"})
NORM = names(
    "layer_norm native_layer_norm batch_norm _native_batch_norm_legit_no_training group_norm native_group_norm "
    "rms_norm _fused_rms_norm instance_norm"
)
ACTIVATION = names(
    "gelu relu relu_ relu6 silu silu_ sigmoid tanh hardswish hardswish_ hardsigmoid hardtanh hardtanh_ "
    "leaky_relu leaky_relu_ elu mish softplus log_softmax"
)
POINTWISE = names(
    "add add_ sub rsub mul mul_ div div_ neg pow exp log sqrt rsqrt erf abs sin cos reciprocal minimum maximum "
    "clamp clamp_min where masked_fill logical_not logical_and __and__ __or__ bitwise_and bitwise_not eq ne lt "
    "le gt ge _to_copy to dropout"
)
VIEW = names(
    "view reshape _unsafe_view transpose permute t unsqueeze squeeze expand flatten slice select chunk split "
    "split_with_sizes unbind contiguous clone expand_as unflatten"
)
GATHER = frozenset({"embedding", "index", "index_select", "gather"})
ATTENTION = frozenset({"scaled_dot_product_attention"})


@dataclass(frozen=True, slots=True)
class Rule:
    """A subgraph that ends in one of `producers` may take in one of `consumers`.

    Attributes:
        name: What the rule is called in reports.
        producers, consumers: Operator names.
        attention: Whether the rule belongs to attention; `partition(attention=False)` leaves it out.
        joins: Whether the consumer, once it is in a subgraph, takes in other subgraphs that end before it as well.
    """

    name: str
    producers: frozenset[str]
    consumers: frozenset[str]
    attention: bool = False
    joins: bool = False


DEFAULT_RULES: tuple[Rule, ...] = (
    Rule("weighted values", SOFTMAX | POINTWISE, MATMUL, attention=True, joins=True),
    Rule("scores scale and mask", MATMUL, POINTWISE, attention=True, joins=True),
    Rule("mask", POINTWISE, POINTWISE, attention=True, joins=True),
    Rule("softmax of the scores", MATMUL | POINTWISE, SOFTMAX, attention=True),
    Rule("softmax guard", SOFTMAX, POINTWISE | VIEW, attention=True, joins=True),
    Rule("heads apart", VIEW | POINTWISE, MATMUL | ATTENTION, attention=True, joins=True),
    Rule("heads together", MATMUL | ATTENTION, VIEW, attention=True),
    Rule("projection epilogue", LINEAR | CONV, ACTIVATION | POINTWISE),
    Rule("convolution and norm", CONV, NORM),
    Rule("norm and activation", NORM, ACTIVATION | POINTWISE),
    Rule("norm before projection", NORM, LINEAR),
    Rule("residual and norm", POINTWISE, NORM),
    Rule("pointwise chain", POINTWISE | ACTIVATION, POINTWISE | ACTIVATION),
    Rule("embedding sum", GATHER, POINTWISE),
    Rule("projection layout", LINEAR, VIEW),
    Rule("layout chain", VIEW, VIEW),
)
"""In order of preference where an operator could join two subgraphs."""

RULE_SETS: dict[str, tuple[Rule, ...]] = {"default": DEFAULT_RULES}
