"""Graphs in another runtime: what it converts wrongly is caught, what it cannot load is named with its module."""

import contextlib

import numpy as np
import onnx_ir as ir
import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict, runtimes
from pytest_modelcheck.accuracy import Subject, Tolerances, check_in_runtime
from pytest_modelcheck.calling import build_module, module_inputs
from pytest_modelcheck.export import export
from pytest_modelcheck.runtimes import How, Runtime, RuntimeMissingError, open_session
from tests.accuracy.fault_list import FAULTS
from tests.accuracy.faulty_models import SMALL
from tests.accuracy.planting import nodes, set_input

pytest.importorskip("openvino")


class Net(torch.nn.Module):
    """One of everything that converters are known to get wrong."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.head = torch.nn.Linear(8, 8)

    def forward(self, image):
        hidden = torch.relu(self.conv(torch.nn.functional.pad(image, (1, 1, 1, 1), mode="reflect")))
        hidden = torch.nn.functional.avg_pool2d(hidden, 3, stride=2, padding=1)
        hidden = torch.nn.functional.interpolate(hidden, scale_factor=2.0, mode="bilinear", align_corners=False)
        scores = self.head(torch.cat((hidden, -hidden), 2).amax(3).mean(2) + hidden.mean((2, 3)))
        return {"scores": torch.softmax(scores, 1), "raw": torch.nn.functional.layer_norm(scores, (8,))}


def draw(seed):
    return {"image": torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(seed))}


CASES = {"net": ModelCase("net", Net, draw), "bert": SMALL["bert"], "resnet": SMALL["resnet"]}


class Exported:
    """One case, exported once."""

    def __init__(self, case):
        self.case, self.module = case, build_module(case)
        self.artifact = export(case, module=self.module)
        self.model = self.artifact.model

    def check(self, runtime="openvino", *, seeds=2, **options):
        subject = Subject(
            case=self.case,
            module=lambda: contextlib.nullcontext(self.module),
            exported=self.model,
            optimized=None,
            how=How(runtime=runtime),
        )
        return check_in_runtime(
            {"exported": self.artifact.path},
            lambda seed: module_inputs(self.case, self.module, seed),
            subject,
            seeds=range(seeds),
            **{"tolerances": Tolerances(1e-4, 1e-4), "varied": False, **options},
        )


@pytest.fixture(scope="module", params=CASES)
def exported(request):
    return Exported(CASES[request.param])


@pytest.fixture
def faulty(monkeypatch):
    """Adds a runtime: OpenVINO behind a converter that changes the graph."""

    def add(change):
        def converted(model, how, name):
            graph = ir.load(model) if not isinstance(model, ir.Model) else model.clone()
            if change(graph) is None:
                pytest.skip("the graph has no place for it")
            return runtimes.openvino.RUNTIME.open(graph, how, name)

        toy = Runtime(name="faulty", package="openvino", install="pip install faulty", open=converted, label="Faulty")
        monkeypatch.setattr(runtimes, "RUNTIMES", (*runtimes.RUNTIMES, toy))

    return add


@pytest.mark.parametrize("varied", [False, True])
def test_openvino_agrees_with_torch_and_keeps_every_weight(exported, varied):
    report = exported.check(seeds=3, varied=varied)
    assert report.findings == ()
    assert [(pair.reference, pair.candidate) for pair in report.pairs] == [("torch", "exported in OpenVINO")]
    assert 0 < report.pairs[0].scaled_max < 1e-4
    assert report.weights > 0
    assert bool(report.varied) == varied


@pytest.mark.parametrize("runtime", ["onnxruntime", "reference", "onnxruntime-web", "litert"])
def test_other_runtimes_answer_the_same_question(runtime):
    if not runtimes.runtime_named(runtime).installed:
        pytest.skip(f"{runtime} is not installed")
    report = Exported(CASES["net"]).check(runtime)
    assert (report.findings, report.weights) == ((), None)


def on_attribute(op, name, value):
    def change(model):
        node = nodes(model, op)[0]
        node.attributes.add(ir.Attr(name, _KIND[type(value)], value))
        return node

    return change


_KIND = {
    int: ir.AttributeType.INT,
    float: ir.AttributeType.FLOAT,
    str: ir.AttributeType.STRING,
    list: ir.AttributeType.INTS,
}


def swap_outputs(model):
    first, second = model.graph.outputs
    first.name, second.name = second.name, first.name
    return first.producer()


def round_weight(model):
    for value in model.graph.initializers.values():
        if value.const_value.size >= 64 and value.const_value.dtype == ir.DataType.FLOAT:
            rounded = value.const_value.numpy().astype(np.float16).astype(np.float32)
            value.const_value = ir.tensor(rounded, name=value.name)
            return value.uses()[0].node
    return None


def nudge_weight(model):
    """One element by a thousandth: no output shows it."""
    value = next(v for v in model.graph.initializers.values() if v.const_value.size >= 64)
    array = value.const_value.numpy().copy()
    array.flat[7] *= np.float32(1.001)
    value.const_value = ir.tensor(array, name=value.name)
    return value.uses()[0].node


def move_pads(model):
    (pad,) = nodes(model, "Pad")
    set_input(model, pad, 1, np.roll(pad.inputs[1].const_value.numpy(), 1))
    return pad


CONVERSIONS = {
    "softmax over another axis": on_attribute("Softmax", "axis", 0),
    "concatenated along another axis": on_attribute("Concat", "axis", 3),
    "outputs swapped": swap_outputs,
    "a weight rounded to half": round_weight,
    "one weight moved by a thousandth": nudge_weight,
    "other resize mode": on_attribute("Resize", "mode", "nearest"),
    "other coordinates in Resize": on_attribute("Resize", "coordinate_transformation_mode", "align_corners"),
    "padding counted in the mean": on_attribute("AveragePool", "count_include_pad", 0),
    "pads shifted": move_pads,
    "edge instead of reflection": on_attribute("Pad", "mode", "edge"),
    "other epsilon": on_attribute("LayerNormalization", "epsilon", 0.1),
    "kernel padding left out": on_attribute("Conv", "pads", [0, 2, 0, 2]),
}


@pytest.fixture(scope="module")
def net():
    return Exported(CASES["net"])


@pytest.mark.parametrize("name", CONVERSIONS)
def test_a_fault_of_the_conversion_is_caught_and_the_stage_is_named(net, faulty, name):
    faulty(CONVERSIONS[name])
    report = net.check("faulty")
    assert report.findings
    assert all("exported in Faulty" in f"{finding.subject} {finding.context}" for finding in report.findings)
    assert all(finding.verdict is Verdict.FAIL for finding in report.findings)
    if report.pairs[0].finding is not None:
        where = "\n".join(report.findings[0].where)
        assert "agrees with torch: Faulty computes exported in Faulty differently" in where


@pytest.fixture(scope="module")
def bert():
    return Exported(CASES["bert"])


REMOVED = "values rounded to float16"
"""OpenVINO 2026.4 computes no Cast to float16 and back: its numbers are the right ones."""


@pytest.mark.parametrize("fault", [f for f in FAULTS[::5] if f.name != REMOVED], ids=lambda fault: fault.name)
def test_faults_of_the_list_are_caught_in_a_converted_graph(bert, faulty, fault):
    faulty(fault.plant)
    report = bert.check("faulty", varied=True)
    assert report.findings
    assert "exported in Faulty" in f"{report.findings[0].subject} {report.findings[0].context}"


def test_the_first_node_that_differs_is_named_with_its_module(net, faulty):
    faulty(CONVERSIONS["other resize mode"])
    (finding,) = net.check("faulty").findings
    assert any("against onnxruntime: first difference at Resize" in line for line in finding.where)


def test_an_operator_that_the_runtime_lacks_is_named_with_its_module(net, tmp_path):
    def lacking(model, how, name):
        graph = ir.load(model)
        (node,) = nodes(graph, "Resize")
        node.domain, node.op_type = "my.domain", "Upscale"
        graph.opset_imports["my.domain"] = 1
        path = tmp_path / "lacking.onnx"
        ir.save(graph, path)
        return open_session(path, How(runtime="openvino"), name=name)

    with pytest.MonkeyPatch.context() as patch:
        toy = Runtime(name="lacking", package="openvino", install="-", open=lacking, label="Lacking")
        patch.setattr(runtimes, "RUNTIMES", (*runtimes.RUNTIMES, toy))
        (finding,) = net.check("lacking").findings
    assert (finding.subject, finding.verdict) == ("exported in Lacking", Verdict.FAIL)
    assert finding.expected == "a graph that the runtime converts and loads"
    assert finding.found == "my.domain.Upscale: no such operator"


class Shifted(torch.nn.Module):
    """Pads by -1, as RWKV does, which onnx's reference evaluator does not take."""

    def forward(self, image):
        return torch.nn.functional.pad(image, (0, 0, 1, -1)) + image


def test_a_runtime_that_does_not_run_what_another_one_runs_is_named():
    (finding,) = Exported(ModelCase("shifted", Shifted, draw)).check("reference").findings
    assert finding.verdict is Verdict.ERROR
    assert "failed to run the model: index can't contain negative values" in finding.found
    assert finding.where == ("onnxruntime runs the same graph",)
    label = "onnx's reference evaluator"
    assert finding.next == f"Look for these words in the issues of {label}, or write the module in other operators."


def test_a_graph_that_two_runtimes_do_not_run_is_not_valid(net):
    def narrow(seed):
        return {"image": draw(seed)["image"][:, :2]}

    subject = Subject(
        case=ModelCase("shifted", Shifted, narrow),
        module=lambda: contextlib.nullcontext(Shifted()),
        exported=net.model,
        optimized=None,
        how=How(runtime="reference"),
    )
    (finding,) = check_in_runtime({"exported": net.artifact.path}, narrow, subject, seeds=range(1)).findings
    assert finding.where[0].startswith("nor does onnxruntime run it: onnxruntime: input 'image' must have shape [2, 3,")
    assert finding.next == "The graph is not valid, or does not fit the inputs."


def test_a_runtime_that_is_not_installed_is_an_error_that_names_the_command(net, monkeypatch):
    absent = Runtime(name="absent", package="no_such_package", install="pip install absent", open=None)
    monkeypatch.setattr(runtimes, "RUNTIMES", (*runtimes.RUNTIMES, absent))
    with pytest.raises(RuntimeMissingError, match="absent is not installed: pip install absent"):
        net.check("absent")


def test_the_module_is_built_once_for_its_variants_and_its_runs(net):
    lent = []

    @contextlib.contextmanager
    def lend():
        lent.append("lent")
        yield net.module
        lent.append("given back")

    subject = Subject(case=net.case, module=lend, exported=net.model, optimized=None, how=How(runtime="openvino"))
    check_in_runtime(
        {"exported": net.artifact.path}, lambda seed: module_inputs(net.case, net.module, seed), subject, seeds=[0]
    )
    assert lent == ["lent", "lent", "given back", "given back"]
