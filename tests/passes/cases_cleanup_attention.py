"""The rules of cleanup_attention."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import onnx

from tests.passes.rule_cases import RuleCase
from tests.passes.test_cleanup_attention import (
    BATCH,
    DEPTH,
    EAGER,
    HEADS,
    LONG_K,
    PACKED,
    PASS,
    SDPA,
    SEQUENCE,
    WIDTH,
    attention,
    project,
    two_layers,
)

COMPUTED = (
    f"float[batch,{HEADS},queries,{DEPTH}] q, float[batch,{HEADS},{DEPTH},keys] k, float[batch,{HEADS},keys,{DEPTH}] v"
)
ONE_SCALE = "s = MatMul (q, k)\n z = Mul (s, scale)\n p = Softmax <axis = -1> (z)\n y = MatMul (p, v)"
TWO_SCALES = (
    "qs = Mul (q, root)\n ks = Mul (k, root)\n s = MatMul (qs, ks)\n p = Softmax <axis = -1> (s)\n y = MatMul (p, v)"
)
AGAIN = re.sub(r"\b(qs|ks|s|p|y)\b", r"\g<1>2", TWO_SCALES)
PADDED = f"float[batch,seq,{WIDTH}] x, bool[batch,1,1,seq] keep"
SIZES = {"zeroth": np.array([0]), "first": np.array([1]), "second": np.array([2]), "three": np.array([HEADS])}
SIZES |= {"four": np.array([DEPTH]), "rows": np.array([-1, WIDTH])}


def case(rule: str, **shared: Any) -> RuleCase:
    return RuleCase(pass_=PASS, rule=rule, **shared)


def computed_heads(target: str) -> onnx.ModelProto:
    """Projections of the flattened view, whose heads get their shape from that of x."""
    body = EAGER.replace("heads", "target")
    for name in "qkv":
        body = body.replace(f"MatMul (x, w{name})", f"MatMul (view, w{name})")
    sizes = (
        "sh = Shape (x)\n b0 = Slice (sh, zeroth, first)\n n0 = Slice (sh, first, second)\n view = Reshape (x, rows)"
    )
    return attention(f"{sizes}\n {target}\n {body}", **SIZES)


JOINED = computed_heads("target = Concat <axis = 0> (b0, n0, three, four)")
NESTED = computed_heads("middle = Concat <axis = 0> (n0, three)\n target = Concat <axis = 0> (b0, middle, four)")
CASES = (
    case(
        "nan guard",
        fires=attention(f"mask = Where (keep, zero, lowest)\n{SDPA}", inputs=PADDED),
        refused=attention(f"mask = Where (keep, zero, infinity)\n{SDPA}", inputs=PADDED),
        reason="the mask may leave an empty row",
    ),
    case(
        "scale",
        variant="into a projection",
        fires=attention(EAGER),
        counts=PACKED,
        refused=attention(ONE_SCALE, inputs=COMPUTED, outputs="float[a,b,c,d] y"),
        reason="the one scale is not next to a constant projection that only it reads",
    ),
    case(
        "scale",
        variant="two into one",
        fires=attention(TWO_SCALES, inputs=COMPUTED, outputs="float[a,b,c,d] y"),
        counts={"MatMul": 2, "Mul": 1, "Softmax": 1},
        refused=None,
        reason="",
    ),
    case(
        "layout",
        fires=attention(
            EAGER.replace(project("k", perm="0, 2, 3, 1"), LONG_K),
            inputs=f"float[{BATCH},{SEQUENCE},{WIDTH}] x",
            folded=np.array([-1, SEQUENCE, DEPTH]),
            unfolded=np.array([BATCH, HEADS, DEPTH, SEQUENCE]),
        ),
        counts=PACKED,
        refused=attention(
            EAGER.replace(project("k", perm="0, 2, 3, 1"), LONG_K),
            folded=np.array([-1, SEQUENCE, DEPTH]),
            unfolded=np.array([BATCH, HEADS, DEPTH, SEQUENCE]),
        ),
        reason="how a Reshape regroups the axes is not provable",
    ),
    case(
        "projections",
        fires=attention(EAGER),
        refused=attention(EAGER, outputs="float[a,b,c] y, float[d,e,f] lq, float[i,j,l] lk, float[m,n,o] lv"),
        reason="a projection is a graph output",
    ),
    case(
        "heads",
        fires=JOINED,
        refused=NESTED,
        reason="the shape of the merged heads is not known",
    ),
    case(
        "heads",
        variant="before an operator",
        fires=JOINED,
        target="opset23",
        refused=None,
        reason="",
    ),
    case(
        "keys",
        fires=two_layers(),
        refused=attention(
            EAGER.replace(project("k", perm="0, 2, 3, 1"), project("k", "memory", perm="0, 2, 3, 1", bias=False)),
            inputs=f"float[batch,seq,{WIDTH}] x, float[batch,20,{WIDTH}] memory",
        ),
        reason="turning the keys of one attention alone would not save a node",
    ),
    case(
        "tidy",
        fires=attention(
            TWO_SCALES + "\n" + AGAIN,
            inputs=COMPUTED,
            outputs="float[a,b,c,d] y, float[e,f,g,h] y2",
        ),
        refused=None,
        reason="",
    ),
)
