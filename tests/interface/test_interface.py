"""The interface of real exports: its text both ways, and one sentence for each thing that can change."""

from __future__ import annotations

import functools

import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.graph.files import load_model
from pytest_modelcheck.interface import (
    Interface,
    Port,
    interface_differences,
    interface_of,
    interface_text,
    judge_interface,
    parse_interface,
)
from pytest_modelcheck.model_case import EXPORTERS
from tests.interface.cases import AXES, Classifier, classifier, text

NAMES = st.text(min_size=1, max_size=6)
DIMS = st.none() | st.lists(st.none() | st.integers(0, 99) | NAMES, max_size=3).map(tuple)
PORTS = st.lists(st.builds(Port, NAMES, st.sampled_from(["float32", "int64", "seq(float32)"]), DIMS), max_size=3).map(
    tuple
)
DOMAINS = st.sampled_from(["", "com.microsoft", "my.own", "a\x1e\x02", "b, 3: c"])
INTERFACES = st.builds(
    Interface,
    inputs=PORTS,
    outputs=PORTS,
    opsets=st.dictionaries(DOMAINS, st.integers(1, 30)).map(lambda d: tuple(sorted(d.items()))),
    ir_version=st.integers(3, 14),
    external=st.booleans(),
    bytes=st.dictionaries(st.sampled_from(["float32", "int8"]), st.integers(1, 9**9)).map(
        lambda d: tuple(sorted(d.items()))
    ),
    metadata=st.sets(NAMES, max_size=2).map(lambda s: tuple(sorted(s))),
    domains=st.sets(DOMAINS).map(lambda s: tuple(sorted(s))),
    unread=st.none() | st.lists(NAMES, max_size=2).map(tuple),
    node_names=st.none() | NAMES,
    weight_names=st.none() | NAMES,
)


def locked(case):
    made = export(case)
    assert isinstance(made, Exported), made.render()
    return interface_text(interface_of(made.model))


@functools.cache
def plain(exporter):
    return locked(classifier(exporter))


def change(exporter, **options):
    return interface_differences(plain(exporter), locked(classifier(exporter, **options)))


@given(INTERFACES)
def test_a_rendered_interface_parses_to_the_same(interface):
    assert parse_interface(interface_text(interface)) == interface


@given(INTERFACES, INTERFACES)
def test_different_interfaces_have_a_difference_unless_only_bytes_within_the_tolerance(one, other):
    lines = interface_differences(interface_text(one), interface_text(other))
    if not lines:
        assert _promise(one) == _promise(other)


def _promise(interface):
    """The text without bytes, and without the rows that only later records have."""
    optional = ("initializers", "unread inputs", "nodes named", "weights named")
    return [line for line in interface_text(interface).splitlines() if not line.startswith(optional)]


@pytest.mark.parametrize(
    ("exporter", "extra"),
    [("torchscript", "ir version: 8"), ("dynamo", "ir version: 10")],
)
def test_the_text_of_a_real_export(exporter, extra):
    assert plain(exporter).splitlines() == [
        "input: input_ids int64 [batch, sequence]",
        "input: attention_mask int64 [batch, sequence]",
        "output: logits float32 [batch, 5]",
        "output: hidden float32 [batch, sequence, 16]",
        "opset: ai.onnx 18",
        extra,
        "files: one",
        "initializers: float32 4628 B",
        "metadata: -",
        "operators of: ai.onnx",
        "unread inputs: -",
        f"nodes named: {'node_' if exporter == 'dynamo' else '/'}...",
        "weights named: by-module",
    ]


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_retrained_model_promises_the_same(exporter):
    def trained():
        made = Classifier()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(torch.randn(parameter.shape))
        return made

    assert locked(classifier(exporter, build=trained)) == plain(exporter)


class Scores(Classifier):
    def forward(self, input_ids, attention_mask):
        made = super().forward(input_ids, attention_mask)
        return {"scores": made["logits"], "hidden": made["hidden"]}


class Exchanged(Classifier):
    def forward(self, input_ids, attention_mask):
        made = super().forward(input_ids, attention_mask)
        return made["hidden"], made["logits"]


class InOrder(Exchanged):
    def forward(self, input_ids, attention_mask):
        return super().forward(input_ids, attention_mask)[::-1]


class Pooled(Classifier):
    def forward(self, input_ids, attention_mask):
        made = super().forward(input_ids, attention_mask)
        return {"logits": made["logits"], "hidden": made["hidden"].mean(1)}


def half():
    return Classifier().double()


class Cast(Classifier):
    def forward(self, input_ids, attention_mask):
        return {name: value.half() for name, value in super().forward(input_ids, attention_mask).items()}


BATCH = {name: {1: "sequence"} for name in AXES}
TOKENS = {name: {0: "batch", 1: "tokens"} for name in AXES}


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"build": Scores}, ["output `logits` is now `scores`"]),
        ({"output_names": ["logits"]}, ["output `hidden` is gone (was hidden float32 [batch, sequence, 16])"]),
        ({"output_names": ["hidden", "logits"]}, [
            "the outputs are now in the order `hidden`, `logits` (were `logits`, `hidden`)"
        ]),
        ({"build": Exchanged, "output_names": ["logits", "hidden"]}, [
            "outputs `logits`, `hidden` have exchanged their types and shapes: each has the other's name now"
        ]),
        ({"build": Pooled}, ["output `hidden` is now [batch, 16] (was [batch, sequence, 16])"]),
        ({"build": Cast}, [
            "output `logits` is now float16 (was float32)", "output `hidden` is now float16 (was float32)"
        ]),
        ({"inputs": functools.partial(text, dtype=torch.int32)}, ["input `input_ids` is now int32 (was int64)"]),
        ({"dynamic_axes": TOKENS}, [
            "dynamic axis `sequence` is now `tokens` (axis 1 of input `input_ids`, axis 1 of input `attention_mask`, "
            "axis 1 of output `hidden`)"
        ]),
        ({"dynamic_axes": BATCH}, [
            "axis 0 of input `input_ids` (batch) is now fixed at 2",
            "axis 0 of input `attention_mask` (batch) is now fixed at 2",
            "axis 0 of output `logits` (batch) is now fixed at 2",
            "axis 0 of output `hidden` (batch) is now fixed at 2",
        ]),
        ({"opset": 19}, ["opset of ai.onnx is now 19 (was 18)"]),
    ],
    ids=["renamed", "dropped", "order", "mislabelled", "pooled", "dtype", "int32", "axis name", "fixed", "opset"],
)  # fmt: skip
def test_a_change_of_the_export_is_said_in_its_own_words(exporter, options, lines):
    found = [line for line in change(exporter, **options) if not line.startswith("IR version")]
    assert found == lines


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_dynamic_again_and_new_inputs(exporter):
    fixed = locked(classifier(exporter, dynamic_axes=BATCH))
    assert "axis 0 of input `input_ids` is now dynamic (batch; was fixed at 2)" in interface_differences(
        fixed, plain(exporter)
    )


EDITS = {
    "ir version": (lambda m: setattr(m, "ir_version", m.ir_version + 1), "IR version is now 9 (was 8)"),
    "metadata": (lambda m: m.metadata_props.update(stride="32"), "metadata key `stride` is new"),
    "domain": (lambda m: m.opset_imports.update({"com.microsoft": 1}), "opset 1 of com.microsoft is imported now"),
    "operator": (
        lambda m: setattr(m.graph[-1], "domain", "my.own"),
        "domain `my.own` has operators in the graph now",
    ),
    "weights": (
        lambda m: m.graph.initializers.add(_initializer("left_over", torch.zeros(8, 16))),
        "initializers of float32 now take 5140 B (were 4628 B, +11 %)",
    ),
    "unknown axis": (
        lambda m: setattr(m.graph.outputs[0], "shape", ir.Shape(["unk__0", 5])),
        "axis 0 of output `logits` is now ? (was batch)",
    ),
    "no shape": (
        lambda m: setattr(m.graph.outputs[0], "shape", None),
        "output `logits` is now of unknown rank (was [batch, 5])",
    ),
}


def _initializer(name, tensor):
    made = ir.tensor(tensor.numpy(), name=name)
    return ir.Value(name=name, const_value=made, type=ir.TensorType(made.dtype), shape=made.shape)


@pytest.mark.parametrize("edit", EDITS)
def test_what_a_tool_changes_in_the_file_is_said(edit):
    made = export(classifier("torchscript"))
    assert isinstance(made, Exported)
    model = made.model
    change_file, line = EDITS[edit]
    change_file(model)
    assert interface_differences(plain("torchscript"), interface_text(interface_of(model))) == (line,)


def test_weights_in_a_file_of_their_own_are_said(tmp_path):
    made = export(classifier("torchscript"))
    assert isinstance(made, Exported)
    ir.save(made.model, tmp_path / "m.onnx", external_data="m.data", size_threshold_bytes=0)
    text_ = interface_text(interface_of(load_model(tmp_path / "m.onnx")))
    assert interface_differences(plain("torchscript"), text_) == (
        "the weights are now in files beside the model (were inside it)",
    )
    assert interface_differences(text_, plain("torchscript")) == (
        "the weights are now inside the model (were beside it)",
    )


@pytest.mark.parametrize(("size", "same"), [(1050, True), (950, True), (1051, False), (949, False)])
def test_bytes_may_differ_by_five_percent(size, same):
    one, other = (
        Interface(inputs=(), outputs=(), opsets=(), ir_version=8, bytes=(("float32", count),)) for count in (1000, size)
    )
    assert judge_interface(interface_text(one), other).found == ("" if same else "1 difference")


def test_names_of_axes_that_torchscript_makes_up_are_left_out():
    class Selecting(nn.Module):
        def forward(self, x):
            return x[x > 0]

    case = classifier(
        "torchscript", build=Selecting, inputs=lambda seed: {"x": torch.randn(2, 8)}, dynamic_axes={"x": {0: "batch"}}
    )
    assert "output: output_0 float32 [?]" in locked(case) or "float32 [?]" in locked(case)


def test_an_expression_of_inputs_axes_stays():
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 18]>\n'
        "g (float[past] a, float[sequence] b) => (float[s] c) { c = Concat <axis = 0> (a, b) }"
    )
    for name, kept in (("past + sequence", True), ("floor(past/2)", True), ("past + other", False)):
        model.graph.outputs[0].shape = ir.Shape([name])
        assert interface_of(model).outputs[0].dims == ((name if kept else None),)


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        ("nonsense\n", "the recorded text is not an interface: line 1 cannot be read: 'nonsense'"),
        ("input: x\n", "the recorded text is not an interface: line 1 names no input or output: 'x'"),
        ("input: x float32 [2]\n", "the recorded text is not an interface: there is no line 'opset'"),
    ],
)
def test_a_recorded_text_that_cannot_be_read_is_said(recorded, message):
    assert interface_differences(recorded, plain("torchscript")) == (message,)


def test_an_input_that_is_no_longer_read_is_said_where_the_exporter_keeps_it():
    class Unread(Classifier):
        def forward(self, input_ids, attention_mask):
            return super().forward(input_ids, torch.ones_like(input_ids))

    lines = change("dynamo", build=Unread)
    assert "input `attention_mask` is no longer read by any node" in lines
    back = interface_differences(locked(classifier("dynamo", build=Unread)), plain("dynamo"))
    assert "input `attention_mask` is read now (no node did)" in back


@pytest.mark.parametrize(("exporter", "scheme"), [("dynamo", "node_..."), ("torchscript", "/...")])
def test_renamed_nodes_and_weights_are_said_by_their_schemes(exporter, scheme):
    made = export(classifier(exporter))
    assert isinstance(made, Exported)
    model = made.model
    for number, node in enumerate(model.graph):
        node.name = f"n{number}"
    assert interface_differences(plain(exporter), interface_text(interface_of(model))) == (
        f"nodes are now named n# (were {scheme})",
    )
    for number, value in enumerate(list(model.graph.initializers.values())):
        value.name = f"w{number}"
    assert interface_differences(plain(exporter), interface_text(interface_of(model)))[1:] == (
        "weights are now named w# (were by-module)",
    )


@pytest.mark.parametrize(
    ("names", "scheme"),
    [
        (("Add_0", "Relu_1"), "<Operator>..."),
        (("my_add", "my_relu"), "my_..."),
        (("/body/Add", "Relu_1"), "/..."),
        (("a", "b"), "..."),
        (("", ""), "-"),
    ],
)
def test_the_scheme_of_node_names(names, scheme):
    model = ir.from_onnx_text(
        '<ir_version: 8, opset_import: ["" : 17]>\ng (float[2] x) => (float[2] y) { a = Add (x, x)\ny = Relu (a) }'
    )
    for node, name in zip(model.graph, names, strict=True):
        node.name = name
    assert interface_of(model).node_names == scheme


def test_a_record_without_these_rows_is_green_and_renewed_by_an_update():
    made = export(classifier("torchscript"))
    assert isinstance(made, Exported)
    change = judge_interface("\n".join(plain("torchscript").splitlines()[:-3]), interface_of(made.model))
    assert (change.found, change.stale) == ("", True)
    assert not judge_interface(plain("torchscript"), interface_of(made.model)).stale
