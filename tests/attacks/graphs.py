# ruff: noqa: E501 - one row, one line
"""Graphs that must be red, and harmless neighbours that must be green: what each gate says of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HEAD = '<ir_version: 10, opset_import: ["" : 18, "mine" : 1, "com.microsoft" : 1]>\n'

RELUS = "g (float[N,4] x) => (float[N,4] y) { a = Relu(x) b = Neg(a) y = Relu(b) }"
CHAIN = "g (float[N,4] x) => (float[N,4] y) { a = Relu(x) b = Identity(a) c = Neg(b) d = Identity(c) y = Exp(d) }"
BRANCH = """g (float[2,4] x, bool c) => (float[2,4] y) {
    y = If(c) <then_branch = t () => (float[2,4] p) { q = Relu(x) p = Relu(q) }, else_branch = e () => (float[2,4] r) { r = Relu(x) }>
}"""
NESTED = """g (float[2,4] x, bool c) => (float[2,4] y) {
    y = If(c) <then_branch = t () => (float[2,4] p) {
        p = If(c) <then_branch = t2 () => (float[2,4] u) { u = Relu(x) }, else_branch = e2 () => (float[2,4] v) { v = Relu(x) }>
    }, else_branch = e () => (float[2,4] r) { r = Relu(x) }>
}"""
FUNCTION = """g (float[N,4] x) => (float[N,4] y) { a = mine.Twice(x) y = Relu(a) }
<domain: "mine", opset_import: ["" : 18, "mine" : 1]>
Twice (p) => (q) { s = Relu(p) q = mine.Inner(s) }
<domain: "mine", opset_import: ["" : 18]>
Inner (p) => (q) { q = Relu(p) }"""
SPELLED = "g (float[N,4] x) => (float[N,4] y) { a = ai.onnx.Relu(x) y = ai.onnx.Relu(a) }"
CONTRIB = "g (float[N,4] x) => (float[N,4] y) { a = com.microsoft.Gelu(x) y = Gelu(a) }".replace("= Gelu", "= Relu")
DEAD = "g (float[N,4] x) => (float[N,4] y) { a = Relu(x) dead = Tile(x, r) y = Neg(a) }".replace(
    ") {", ") <int64[2] r = {1, 1}> {"
)
CONSTANTS = "g (float[N,4] x) => (float[N,4] y) { k = Constant<value_float = 2.0>() m = Constant<value_float = 2.0>() a = Mul(x, k) y = Mul(a, m) }"
WEIGHTS = "g (float[N,4] x) => (float[N,4] y) <float[4] w = {1, 2, 3, 4}> { y = Add(x, w) }"
WIDER = WEIGHTS.replace("float[4] w = {1, 2, 3, 4}", "double[4] w = {1, 2, 3, 4}").replace(
    "y = Add(x, w)", "v = Cast<to = 1>(w) y = Add(x, v)"
)
TWICE_STORED = "g (float[N,4] x) => (float[N,4] y) <float[4] w = {1, 2, 3, 4}, float[4] v = {1, 2, 3, 4}> { a = Add(x, w) y = Add(a, v) }"
IN_CONSTANT = "g (float[N,4] x) => (float[N,4] y) { w = Constant<value = float[4] {1, 2, 3, 4}>() y = Add(x, w) }"
IN_BRANCHES = """g (float[2,4] x, bool c) => (float[2,4] y) {
    y = If(c) <then_branch = t () => (float[2,4] p) <float[4] w = {1, 2, 3, 4}> { p = Add(x, w) },
               else_branch = e () => (float[2,4] r) <float[4] w = {5, 6, 7, 8}> { r = Add(x, w) }>
}"""
IN_FUNCTION = """g (float[N,4] x) => (float[N,4] y) { y = mine.Shift(x) }
<domain: "mine", opset_import: ["" : 18]>
Shift (p) => (q) { w = Constant<value = float[4] {1, 2, 3, 4}>() q = Add(p, w) }"""
UNREAD = (
    "g (float[N,4] x) => (float[N,4] y) <float[4] w = {1, 2, 3, 4}, float[4] unread = {0, 0, 0, 0}> { y = Add(x, w) }"
)
TWO = "g (float[N,4] x, int64[N] ids) => (float[N,4] y, int64[N] z) { y = Relu(x) z = Abs(ids) }"


def renamed(graph: str) -> str:
    return graph.replace("a = ", "hidden = ").replace("(a)", "(hidden)")


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        gate: The marker.
        name: What is wrong, or harmless.
        graph: Text of the graph.
        says: Words of the finding; empty where the gate must be green.
        arguments: The marker's.
        passes: Names of the passes of the pipeline; None for the default one.
    """

    gate: str
    name: str
    graph: str
    says: str
    arguments: dict[str, Any] = field(default_factory=dict)
    passes: tuple[str, ...] | None = None


def ops(name: str, graph: str, says: str, stage: str = "exported", **counts: object) -> Row:
    return Row("expect_ops", name, graph, says, {"stage": stage, **counts})


OPS = (
    ops("one more than expected", RELUS, "Relu expected 1, found 2", Relu=1),
    ops("one less than expected", RELUS, "Relu expected 3, found 2", Relu=3),
    ops("one above an inclusive bound", RELUS, "Relu expected <=1, found 2", Relu="<=1"),
    ops("an exclusive bound from above", RELUS, "Relu expected <2, found 2", Relu="<2"),
    ops("an exclusive bound from below", RELUS, "Relu expected >2, found 2", Relu=">2"),
    ops("outside a range", RELUS, "Relu expected 3..5, found 2", Relu="3..5"),
    ops("none left", RELUS, "Gelu expected >0, found 0", Gelu=">0"),
    ops("in both branches of an If", BRANCH, "Relu expected <=2, found 3", Relu="<=2"),
    ops("in a branch of a branch", NESTED, "Relu expected <=2, found 3", Relu="<=2"),
    ops("the If itself", NESTED, "If expected 1, found 2", If=1),
    ops("in functions", FUNCTION, "Relu expected 1, found 3", Relu=1),
    ops("calls of a function", FUNCTION, "mine:Inner expected 0, found 1", **{"mine:Inner": 0}),
    ops("a domain spelled out", SPELLED, "Relu expected 0, found 2", Relu=0),
    ops(
        "an operator of a runtime alone", CONTRIB, "com.microsoft:Gelu expected 0, found 1", **{"com.microsoft:Gelu": 0}
    ),
    ops(
        "the standard one is not the runtime's",
        CONTRIB,
        "com.microsoft:Gelu expected 2, found 1",
        **{"com.microsoft:Gelu": 2},
    ),
    ops("what nothing reads", DEAD, "Tile expected 0, found 1", Tile=0),
    ops("before the pipeline", CHAIN, "Identity expected 0, found 2", Identity=0),
    ops("after the pipeline", CHAIN, "Identity expected 2, found 0", stage="optimized", Identity=2),
    ops("the second of two bounds", CHAIN, "Exp expected 2, found 1", Neg=1, Exp=2),
    ops("the first of two bounds", CHAIN, "Neg expected 2, found 1", Neg=2, Exp=1),
    ops("what a pass must not remove", RELUS, "Neg expected 0, found 1", stage="optimized", Neg=0),
    ops("a cast that was not there", WIDER, "Cast expected 0, found 1", Cast=0),
    ops("exactly as many", RELUS, "", Relu=2, Neg=1),
    ops("values renamed", renamed(RELUS), "", Relu=2),
    ops("constants are no operators", CONSTANTS, "", Mul=2),
    ops("identities that go", CHAIN, "", stage="optimized", Identity=0, Exp=1),
    ops("the standard Gelu is not the runtime's", CONTRIB, "", Gelu=0),
    ops("both ends of a range", RELUS, "", Relu="2..2"),
)


def reduction(name: str, graph: str, says: str, passes: tuple[str, ...] | None = None, **expected: object) -> Row:
    return Row("expect_reduction", name, graph, says, expected, passes)


IDENTITIES = "eliminate_identity_ops"
REDUCTION = (
    reduction("one node short", CHAIN, "total expected 3, found 2 nodes removed (40.0% of 5)", total=3),
    reduction("one node too many", CHAIN, "total expected 1, found 2 nodes removed", total=1),
    reduction(
        "the share just missed", CHAIN, "total expected >=40.1%, found 2 nodes removed (40.0% of 5)", total=">=40.1%"
    ),
    reduction("the share just above", CHAIN, "total expected <=39.9%, found 2 nodes", total="<=39.9%"),
    reduction("an exclusive share", CHAIN, "total expected >40%, found 2 nodes", total=">40%"),
    reduction("an exclusive number", CHAIN, "total expected <2, found 2 nodes", total="<2"),
    reduction("nothing to remove", RELUS, "total expected >0, found 0 nodes removed (0.0% of 3)", total=">0"),
    reduction("a share of nothing to remove", RELUS, "total expected >=1%, found 0 nodes", total=">=1%"),
    reduction(
        "a pass that finds nothing", RELUS, "eliminate_identity_ops expected >0, found 0 nodes", **{IDENTITIES: ">0"}
    ),
    reduction(
        "a pass that finds too much", CHAIN, "eliminate_identity_ops expected 1, found 2 nodes", **{IDENTITIES: 1}
    ),
    reduction(
        "a pass that finds too little", CHAIN, "eliminate_identity_ops expected 3, found 2 nodes", **{IDENTITIES: 3}
    ),
    reduction(
        "a share of a pass", CHAIN, "eliminate_identity_ops expected >=50%, found 2 nodes", **{IDENTITIES: ">=50%"}
    ),
    reduction("alone", CHAIN, "eliminate_identity_ops expected 0, found 2 nodes", basis="isolated", **{IDENTITIES: 0}),
    reduction("a pass with no work", CHAIN, "fuse_conv_relu expected >0, found 0 nodes", fuse_conv_relu=">0"),
    reduction(
        "a pass that is out of the pipeline",
        CHAIN,
        "found no such pass in the pipeline",
        ("fold_constants",),
        **{IDENTITIES: ">=0"},
    ),
    reduction(
        "the pipeline without the pass", CHAIN, "total expected 2, found 0 nodes removed", ("fold_constants",), total=2
    ),
    reduction(
        "inside a branch",
        BRANCH.replace("p = Relu(q)", "p = Identity(q)"),
        "total expected 0, found 1 nodes removed",
        total=0,
    ),
    reduction("constants are not counted", CONSTANTS, "total expected >2, found", total=">2"),
    reduction(
        "the total holds, the pass does not", CHAIN, "fold_constants expected 1, found 0", total=2, fold_constants=1
    ),
    reduction(
        "the pass holds, the total does not", CHAIN, "total expected >=3, found 2", total=">=3", **{IDENTITIES: 2}
    ),
    reduction("exactly as many", CHAIN, "", total=2, **{IDENTITIES: 2}),
    reduction("exactly the share", CHAIN, "", total="40%"),
    reduction("nothing expected of nothing", RELUS, "", total=0),
    reduction("alone as in its place", CHAIN, "", basis="isolated", **{IDENTITIES: 2}),
    reduction("values renamed", renamed(CHAIN), "", total=2),
)


def interface(name: str, graph: str, says: str, **expected: object) -> Row:
    return Row("expect_interface", name, graph, says, expected)


INTERFACE = (
    interface("an input renamed", RELUS, "input `image` is missing; the graph has `x`", inputs=("image",)),
    interface("an output renamed", RELUS, "output `logits` is missing; the graph has `y`", outputs=("logits",)),
    interface("an input more", TWO, "input `ids` is not expected (ids int64 [N])", inputs=("x",)),
    interface("an output more", TWO, "output `z` is not expected", outputs=("y",)),
    interface("inputs exchanged", TWO, "the inputs are in the order `x`, `ids`", inputs=("ids", "x")),
    interface("outputs exchanged", TWO, "the outputs are in the order `y`, `z`", outputs=("z", "y")),
    interface("another dtype", RELUS, "input `x` is x float32 [N, 4], expected x float16", inputs=("x float16",)),
    interface(
        "another dtype of an output", TWO, "output `z` is z int64 [N], expected z int32", outputs=("y", "z int32")
    ),
    interface(
        "another size", RELUS, "input `x` is x float32 [N, 4], expected x float32 [N, 8]", inputs=("x float32 [N, 8]",)
    ),
    interface(
        "a fixed batch",
        RELUS.replace("N,4", "1,4"),
        "input `x` is x float32 [1, 4], expected x [N, 4]",
        inputs=("x [N, 4]",),
    ),
    interface("a dynamic batch", RELUS, "input `x` is x float32 [N, 4], expected x [1, 4]", inputs=("x [1, 4]",)),
    interface("another name of an axis", RELUS, "expected x [batch, 4]", inputs=("x [batch, 4]",)),
    interface("one axis more", RELUS, "expected x [N]", inputs=("x [N]",)),
    interface("one axis less", RELUS, "expected x [N, 4, *]", inputs=("x [N, 4, *]",)),
    interface("no axes", RELUS, "expected x []", inputs=("x []",)),
    interface("a newer opset", RELUS, "opset expected <=17, found 18", opset="<=17"),
    interface("an older opset", RELUS, "opset expected >=19, found 18", opset=">=19"),
    interface("a newer IR version", RELUS, "ir_version expected <=9, found 10", ir_version="<=9"),
    interface("a foreign domain", CONTRIB, "domains expected ai.onnx, found com.microsoft", domains=("",)),
    interface(
        "a foreign domain in a function",
        FUNCTION.replace("q = Relu(p)", "q = com.microsoft.Gelu(p)").replace(
            '["" : 18]>\nInner', '["" : 18, "com.microsoft" : 1]>\nInner'
        ),
        "com.microsoft",
        domains=("", "mine"),
    ),
    interface(
        "an operator that the runtime lacks", RELUS, "operators expected 1 allowed, found 1 more", operators=("Relu",)
    ),
    interface("such an operator in a branch", BRANCH, "Relu 3", operators=("If",)),
    interface("such an operator in a function", FUNCTION, "Relu 3", operators=("mine:Twice", "mine:Inner")),
    interface(
        "more than one file", RELUS, "files expected weights in files beside it, found one file", single_file=False
    ),
    interface(
        "as it is",
        TWO,
        "",
        inputs=("x float32 [N, 4]", "ids int64 [N]"),
        outputs=("y", "z"),
        opset=18,
        ir_version=10,
        single_file=True,
    ),
    interface("anything on an axis", RELUS, "", inputs=("x float32 [*, *]",)),
    interface(
        "all that it uses", CONTRIB, "", domains=("ai.onnx", "com.microsoft"), operators=("Relu", "com.microsoft:Gelu")
    ),
    interface("values renamed", renamed(RELUS), "", inputs=("x",), operators=("Relu", "Neg")),
)


def memory(name: str, graph: str, says: str, **expected: object) -> Row:
    return Row("expect_memory", name, graph, says, expected)


MEMORY = (
    memory("one byte over", WEIGHTS, "initializers expected <=15, found 16 bytes", initializers="<=15"),
    memory("stored wider", WIDER, "initializers expected 16, found 32 bytes", initializers=16),
    memory("stored twice", TWICE_STORED, "initializers expected 16, found 32 bytes", initializers=16),
    memory("as a Constant", IN_CONSTANT, "initializers expected <=15, found 16 bytes", initializers="<=15"),
    memory(
        "under one name in two branches", IN_BRANCHES, "initializers expected <=16, found 32 bytes", initializers="<=16"
    ),
    memory("in a function", IN_FUNCTION, "initializers expected 0, found 16 bytes", initializers=0),
    memory("what nothing reads", UNREAD, "initializers expected 16, found 32 bytes", initializers=16),
    memory("gone", RELUS, "initializers expected >0, found 0 bytes", initializers=">0"),
    memory("an exclusive bound", WEIGHTS, "initializers expected <16B, found 16 bytes", initializers="<16B"),
    memory("with a unit", WEIGHTS, "initializers expected >=1KiB, found 16 bytes", initializers=">=1KiB"),
    memory("a file that is larger", WEIGHTS, "file expected <=16B, found", file="<=16B"),
    memory("a file that is smaller", WEIGHTS, "file expected >=1kB, found", file=">=1kB"),
    memory("a peak of what has no module", WEIGHTS, "has no torch module", peak="<=1GiB"),
    memory("a total of what has no module", WEIGHTS, "has no torch module", total="<=1GiB"),
    memory("operations of what has no module", WEIGHTS, "has no torch module", flops="<=1"),
    memory("growth of what has no module", WEIGHTS, "has no torch module", axis="N", exponent="<=2"),
    memory("exactly as many", WEIGHTS, "", initializers=16, file="<=1kB"),
    memory("in branches", IN_BRANCHES, "", initializers=32),
    memory("renamed", WEIGHTS.replace("w =", "weight =").replace(", w)", ", weight)"), "", initializers=16),
)

HIERARCHY = (
    Row(
        "expect_hierarchy",
        "a file without names",
        RELUS,
        "coverage expected >=95%, found 0.0% of 3 compute nodes",
        {"coverage": ">=95%"},
    ),
    Row("expect_hierarchy", "one node in a hundred", RELUS, "coverage expected >=1%, found 0.0%", {"coverage": ">=1%"}),
    Row(
        "expect_hierarchy",
        "after the pipeline",
        RELUS,
        "coverage expected >0%, found 0.0%",
        {"coverage": ">0%", "stage": "optimized"},
    ),
    Row(
        "expect_hierarchy",
        "no module ran",
        RELUS,
        "modules expected >=90%, found no torch module that ran",
        {"modules": ">=90%"},
    ),
    Row(
        "expect_hierarchy",
        "no module ran, whatever is expected",
        RELUS,
        "found no torch module that ran",
        {"modules": "<=50%"},
    ),
    Row(
        "expect_hierarchy",
        "nothing to compute",
        CONSTANTS.replace("a = Mul(x, k) y = Mul(a, m)", "y = Identity(x)"),
        "coverage expected",
        {"coverage": ">=1%"},
    ),
)

ROWS = (*OPS, *REDUCTION, *INTERFACE, *MEMORY, *HIERARCHY)
