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
        ("init_net", "'init_net' is not a model; write package.module:build, model.onnx, hf:NAME or timm:NAME"),
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
