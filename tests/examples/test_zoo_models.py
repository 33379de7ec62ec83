"""The zoo is complete, costs nothing to collect, and its models are the published ones with a living signal."""

import dataclasses
import importlib.util
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch

from examples.zoo import selecting
from examples.zoo.declaring import ZooModel
from examples.zoo.registry import ALL_CASES, MODELS, model

pytest.importorskip("transformers")


def test_collecting_the_zoo_loads_neither_torch_nor_a_model_library():
    code = (
        "import sys; import examples.zoo.registry; "
        "print([name for name in ('torch', 'transformers', 'onnx', 'numpy') if name in sys.modules])"
    )
    if importlib.util.find_spec("torchvision") is not None:
        pytest.skip("importing the zoo repairs torchvision where it is installed")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_model_has_one_name_and_a_case_by_each_exporter():
    assert len({each.name for each in MODELS}) == len(MODELS) == len(ALL_CASES) == 33
    for name, both in ALL_CASES.items():
        assert [(case.name, case.exporter) for case in both] == [(name, "dynamo"), (name, "torchscript")]


def test_a_name_that_is_not_in_the_zoo_is_answered_with_those_that_are():
    with pytest.raises(KeyError, match=r"'bert' is not in the zoo; it has .*bert-base"):
        model("bert")


def test_every_text_model_has_dynamic_batch_and_sequence():
    for each in MODELS:
        inputs = each.inputs(0)
        if isinstance(inputs, dict) and "input_ids" in inputs:
            assert each.dynamic_axes["input_ids"] == {0: "batch", 1: "sequence"}, each.name


@pytest.mark.parametrize("name", [each.name for each in MODELS])
def test_equal_seeds_give_equal_inputs_and_others_differ(name):
    def drawn(seed):
        inputs = model(name).inputs(seed)
        return [*(inputs.values() if isinstance(inputs, dict) else inputs)]

    assert all(map(torch.equal, drawn(1), drawn(1)))
    assert not all(map(torch.equal, drawn(1), drawn(2)))


TINY = ZooModel(name="tiny", build=torch.nn.Identity, inputs=lambda seed: (torch.ones(1),))


def test_a_case_that_is_not_quick_is_skipped_with_the_way_to_run_it(monkeypatch):
    monkeypatch.delenv("MODELCHECK_ZOO", raising=False)
    monkeypatch.setitem(selecting.QUICK, "tiny", ("dynamo",))
    assert selecting.skip_reason(TINY, "dynamo") is None
    said = "tiny by torchscript is one of those that run with MODELCHECK_ZOO=full"
    assert selecting.skip_reason(TINY, "torchscript") == said
    dynamo, torchscript = selecting.cases(TINY)
    assert [mark.kwargs["reason"] for mark in (*dynamo.marks, *torchscript.marks)] == [said]
    monkeypatch.setenv("MODELCHECK_ZOO", "full")
    assert selecting.skip_reason(TINY, "torchscript") is None


def test_what_every_run_takes_is_in_the_zoo():
    assert selecting.QUICK.keys() <= ALL_CASES.keys()


def test_a_case_without_its_library_is_skipped_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setenv("MODELCHECK_ZOO", "full")
    lacking = dataclasses.replace(TINY, requires=("no_such_library", "torch"))
    said = "tiny needs no_such_library: pip install -c constraints.txt -e '.[zoo]'"
    assert selecting.skip_reason(lacking, "dynamo") == said


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vgg16", 138_357_544),
        ("mobilenet-v3-small", 2_542_856),
        ("efficientnet-b0", 5_288_548),
        ("mobilenet-v2", 3_504_872 + 1281),
        ("resnet50", 25_557_032),
        ("distilbert", 66_362_880),
        ("deit-small", 22_050_664 + 384 + 384),
        ("mobilevit-small", 5_578_632),
    ],
)
def test_models_have_the_published_number_of_parameters(name, parameters):
    with torch.device("meta"):
        made = _architecture(name)
    assert sum(parameter.numel() for parameter in made.parameters()) == parameters


def _architecture(name):
    """The model without its weights."""
    import transformers

    from examples.zoo import convolutional_networks

    if name == "vgg16":
        return convolutional_networks.make_vgg16()
    if name == "mobilenet-v3-small":
        return convolutional_networks.MobileNetV3Small()
    if name == "resnet50":
        return transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=1000))
    build: Any = model(name).build
    kind, _ = build.args
    config = {key: value for key, value in build.keywords.items() if key != "image"}
    made = getattr(transformers, kind)
    return made(made.config_class(**config))


def test_the_signal_of_a_deep_network_reaches_its_output_once_it_is_settled():
    from examples.zoo.convolutional_networks import MobileNetV3Small
    from examples.zoo.jitter import settle_convolutions

    def difference(network):
        with torch.no_grad():
            one, other = (network(torch.randn(1, 3, 64, 64)) for _ in range(2))
        return float((one - other).abs().max() / one.abs().max())

    torch.manual_seed(0)
    network = MobileNetV3Small().eval()
    for child in network.modules():
        if isinstance(child, torch.nn.Conv2d):
            torch.nn.init.normal_(child.weight, 0, 0.02)
    assert difference(network) < 1e-4
    settle_convolutions(network, torch.randn(1, 3, 64, 64))
    assert difference(network) > 0.05


@pytest.mark.parametrize(("bias", "least", "most"), [(0.5, 0, 2e-5), (0.0, 1e-3, 1)])
def test_a_settled_network_does_not_enlarge_what_float32_rounds_and_without_biases_it_would(bias, least, most):
    from examples.zoo.jitter import settle_convolutions

    torch.manual_seed(1)
    layer = partial(torch.nn.Conv2d, 16, 16, 3, padding=1), partial(torch.nn.BatchNorm2d, 16), torch.nn.SiLU
    network = torch.nn.Sequential(*(make() for _ in range(80) for make in layer)).eval()
    settle_convolutions(network, torch.randn(1, 16, 32, 32), bias=bias)
    x = torch.randn(1, 16, 32, 32)
    with torch.no_grad():
        single, double = network(x), network.double()(x.double())
    assert least < float((single - double).abs().max() / double.abs().max()) < most
