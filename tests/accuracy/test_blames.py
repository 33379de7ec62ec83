"""Situations, and exactly what is accused in each: a blame that no experiment has shown is worse than none."""

import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.check import ModelCheck
from tests.accuracy.situations import FILES, GRAPH, MODULES
from tests.gate_checks import ask, said

BLAMES = {
    "exporter": "The exporter changed the numbers",
    "pass": "A pass changed the numbers",
    "runtime": "a bug of the runtime",
    "memory layout": "forward() calls as_strided on a tensor that is not contiguous",
    "size": "A size of the example inputs is baked into the graph",
    "weights": "The exported file does not hold the module's weights",
    "random model": "the model itself draws random numbers",
    "random inputs": "other values for seed 0 on a second call",
    "one input": "only one input was measured",
    "rounding": "the model makes this much of any rounding",
    "padding": "only padded positions differ",
    "nan": "The reference itself is broken",
    "constant": "empty comparison",
    "custom operator": "If it is a custom one, name its library",
    "bfloat16": "computes little in bfloat16",
    "broken pass": "expected a valid graph, found ValueError: mine",
}


def blamed(result):
    text = said(result)
    return {blame for blame, words in BLAMES.items() if words in text}


@pytest.mark.parametrize("situation", MODULES)
def test_a_module_accuses_what_is_at_fault_and_nothing_else(situation):
    build, inputs, options, marker, accused = MODULES[situation]
    options = dict(options)
    passes = options.pop("passes", None)
    case = ModelCase("net", build, inputs, exporter="torchscript", **options)
    result = ask(ModelCheck(case, passes=passes), "expect_accuracy", **{"seeds": 3, **marker})
    assert blamed(result) == accused, said(result)


@pytest.mark.parametrize("situation", FILES)
def test_a_file_accuses_what_is_at_fault_and_nothing_else(situation, tmp_path):
    text, accused = FILES[situation]
    ir.save(ir.from_onnx_text(GRAPH + text), tmp_path / "m.onnx")
    result = ask(ModelCheck(ModelCase.from_onnx(tmp_path / "m.onnx")), "expect_accuracy", seeds=3)
    assert blamed(result) == accused, said(result)


def test_unseeded_inputs_of_a_file_accuse_nobody(tmp_path):
    ir.save(ir.from_onnx_text(GRAPH + "(float[2,8] x) => (float[2,8] y) { y = Tanh (x) }"), tmp_path / "m.onnx")
    case = ModelCase.from_onnx(tmp_path / "m.onnx", lambda seed: {"x": torch.randn(2, 8).numpy()})
    assert blamed(ask(ModelCheck(case), "expect_accuracy", seeds=3)) == {"random inputs"}
