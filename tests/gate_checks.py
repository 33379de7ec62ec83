"""What the tests of the gates share: a check of a small graph or module, and one gate asked about it."""

import dataclasses

import onnx
import torch

from pytest_modelcheck import ModelCase
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.gates import registered_gates
from pytest_modelcheck.gates.evaluate import Declared, evaluate

TEN_NODES = """<ir_version: 10, opset_import: ["" : 18]>
g (float[2,3] x) => (float[2,3] y) {
    a = Relu(x)
    b = Identity(a)
    c = Neg(b)
    d = Identity(c)
    e = Exp(d)
    f = Abs(e)
    h = Sqrt(f)
    i = Tanh(h)
    j = Sigmoid(i)
    y = Neg(j)
}
"""
"""Ten nodes, two of them Identity: 20 % of the graph can go."""


def check_of_graph(text, folder, **options):
    """A check of the graph that `text` describes."""
    path = folder / "graph.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    return ModelCheck(ModelCase.from_onnx(path), **options)


def check_of_module(build, *shape, name="net", **options):
    """A check of a module that takes one float tensor, exported by torchscript."""
    case = ModelCase(name, build, lambda seed: (torch.randn(*shape),), exporter="torchscript")
    return ModelCheck(case, **options)


def ask(check, gate, *args, **kwargs):
    """The gate's result, as the plugin would get it."""
    found = dataclasses.replace(registered_gates()[gate], validate=None)  # names of passes: see the tests of markers
    (result,) = evaluate(check, [Declared(found, found.expectation(args, kwargs))])
    return result


def said(result):
    """All findings as text."""
    return "\n".join(finding.render() for finding in result.findings)
