"""What `init` takes, and what it says of everything else."""

import sys

import pytest

from pytest_modelcheck.scaffold.target import TargetError
from pytest_modelcheck.scaffold.targets import read_target

NET = """
import torch

def build():
    return torch.nn.Linear(4, 2)

def make(width=4):
    return torch.nn.Linear(width, 2)

def sized(width):
    return torch.nn.Linear(width, 2)

def inputs(seed):
    return (torch.ones(3, 4),)

WIDTH = 4
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "init_net.py").write_text(NET)
    (tmp_path / "init_bare.py").write_text("def build():\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("init_net", "init_bare"):
        sys.modules.pop(name, None)


def test_a_function_with_inputs_beside_it_is_imported(package):
    target = read_target("init_net:build")
    assert target.source == "from init_net import build, inputs"
    assert target.assignment("dynamo") == 'CASE = ModelCase("init_net", build, inputs, exporter="dynamo")'
    assert target.case("torchscript").exporter == "torchscript"


def test_other_names_are_imported_under_ours(package):
    assert read_target("init_net:make").source == "from init_net import make as build, inputs"
    source = read_target("init_bare:build", inputs="init_net:inputs").source
    assert source == "from init_bare import build\nfrom init_net import inputs"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("init_net:sized", "init_net:sized: needs width; write a function without arguments that calls it"),
        ("init_net:gone", "init_net:gone: init_net has no gone"),
        ("init_net:WIDTH", "init_net:WIDTH: is not callable, but int"),
        ("no_such_module:build", "no_such_module:build: cannot be imported: No module named 'no_such_module'"),
        ("gone.onnx", "gone.onnx: there is no such file"),
        (
            "init_net",
            "'init_net' is not a model; write package.module:build, model.onnx, hf:NAME, timm:NAME or torchvision:NAME",
        ),
        (
            "init_bare:build",
            "init_bare:inputs: init_bare has no inputs\nwrite `def inputs(seed): ...` beside build, which returns the "
            "inputs of forward(), or name such a function: --inputs=package.module:function",
        ),
        (
            "hf:nonsense",
            "hf:nonsense: transformers has no architecture of this name; "
            "hf: takes names such as bert-base-uncased, vit, gpt2, whisper-tiny",
        ),
    ],
)
def test_what_is_not_a_model_is_refused_with_the_way_out(package, text, message):
    with pytest.raises(TargetError) as raised:
        read_target(text)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("name", "architecture", "reads"),
    [
        ("google/vit-base-patch16-224", "vit", '"pixel_values": torch.randn(1, 3, 224, 224'),
        ("prajjwal1/bert-tiny", "bert", '"attention_mask": torch.ones_like(ids)'),
        ("distilbert-base-uncased", "distilbert", '"input_ids": ids'),
    ],
)
def test_a_model_by_name_is_its_librarys_architecture_with_random_weights(name, architecture, reads):
    target = read_target(f"hf:{name}", tiny=True)
    assert f'AutoConfig.for_model("{architecture}", ' in target.source
    assert reads in target.source
    assert "output_names=[" in target.assignment("dynamo")
    case = target.case("dynamo")
    assert sum(weight.numel() for weight in case.build().parameters()) < 2_000_000
    assert case.inputs(1).keys() == case.inputs(0).keys()


def test_the_sequences_of_encoder_and_decoder_are_different_axes():
    axes = read_target("hf:t5-small", tiny=True).case("dynamo").dynamic_axes
    assert axes["decoder_input_ids"] == {0: "batch", 1: "target"}
    assert axes["input_ids"] == {0: "batch", 1: "sequence"}


VISION = """
import torch

class Weights:
    def __init__(self, crop_size):
        self.transforms = lambda: type("Preset", (), {} if crop_size is None else {"crop_size": crop_size})

WEIGHTS = {"resnet18": [224], "inception_v3": [299], "fcn_resnet50": None}

class Models:
    @staticmethod
    def list_models():
        return [*WEIGHTS, "mnasnet_bare", "fasterrcnn_resnet50_fpn"]

    @staticmethod
    def get_model_builder(name):
        family = "detection.faster_rcnn" if "rcnn" in name else "resnet"
        return type("builder", (), {"__module__": f"torchvision.models.{family}"})

    @staticmethod
    def get_model_weights(name):
        return type("Enum", (), {"DEFAULT": Weights(WEIGHTS[name])} if name in WEIGHTS else {})

    @staticmethod
    def get_model(name, weights):
        assert weights is None
        return torch.nn.Conv2d(3, 4, 3)

models = Models
"""
"""What of torchvision is asked; the wheel itself does not load beside a CPU build of torch."""


@pytest.fixture
def vision(tmp_path, monkeypatch):
    (tmp_path / "torchvision.py").write_text(VISION)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    yield
    sys.modules.pop("torchvision", None)


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", 224), ("inception_v3", 299), ("fcn_resnet50", 224), ("mnasnet_bare", 224)]
)
def test_a_model_of_torchvision_gets_an_image_of_its_size(vision, name, size):
    target = read_target(f"torchvision:{name}")
    assert f'    return torchvision.models.get_model("{name}", weights=None)\n' in target.source
    assert target.packages == ("torchvision",)
    case = target.case("torchscript")
    assert case.inputs(0)["x"].shape == (1, 3, size, size)
    assert case.build()(case.inputs(0)["x"]).shape == (1, 4, size - 2, size - 2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet20", "torchvision:resnet20: there is no such model; near it: resnet18, fcn_resnet50"),
        (
            "fasterrcnn_resnet50_fpn",
            "torchvision:fasterrcnn_resnet50_fpn: a model of torchvision.models.detection reads no plain image; "
            "write build() and inputs(seed) in a module and run init package.module:build",
        ),
    ],
)
def test_a_model_of_torchvision_that_gets_no_image_is_refused(vision, name, message):
    with pytest.raises(TargetError) as raised:
        read_target(f"torchvision:{name}")
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("raise ImportError", "torchvision:resnet18: torchvision is not installed; pip install torchvision"),
        (
            "raise RuntimeError('operator torchvision::nms does not exist')",
            "torchvision:resnet18: torchvision cannot be loaded beside this torch: "
            "operator torchvision::nms does not exist",
        ),
    ],
)
def test_a_torchvision_that_cannot_be_loaded_is_said(vision, tmp_path, source, message):
    (tmp_path / "torchvision.py").write_text(source)
    with pytest.raises(TargetError) as raised:
        read_target("torchvision:resnet18")
    assert str(raised.value) == message
