"""The zoo's weights look trained: nothing is zero, nothing is equal, and the same every time."""

import pytest
import torch
from torch import nn

from examples.zoo.jitter import jitter

pytest.importorskip("transformers")


def test_every_parameter_and_statistic_moves_zero_ones_too():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    nn.init.zeros_(module[3].weight)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    jitter(module)
    unchanged = [name for name, tensor in module.state_dict().items() if torch.equal(tensor, before[name])]
    assert unchanged == ["1.num_batches_tracked"]
    assert (module[1].running_var > 0).all()


def test_equal_modules_are_jittered_equally_and_equal_tensors_apart():
    modules = [jitter(nn.LayerNorm(8)) for _ in range(2)]
    assert torch.equal(modules[0].weight, modules[1].weight)
    pair = jitter(nn.Sequential(nn.LayerNorm(8), nn.LayerNorm(8)))
    assert not torch.equal(pair[0].weight, pair[1].weight)


def test_jitter_keeps_dtypes_and_leaves_integers_alone():
    module = nn.Linear(2, 2).to(torch.bfloat16)
    module.register_parameter("table", nn.Parameter(torch.arange(3), requires_grad=False))
    jitter(module)
    assert module.weight.dtype is torch.bfloat16
    assert module.table.tolist() == [0, 1, 2]


def test_the_zoo_has_a_case_per_model_and_exporter_and_its_inputs_fit():
    from examples.zoo import bert_base, resnet50

    cases = (*bert_base.CASES, *resnet50.CASES)
    assert [(case.name, case.exporter) for case in cases] == [
        ("bert-base", "dynamo"),
        ("bert-base", "torchscript"),
        ("resnet50", "dynamo"),
        ("resnet50", "torchscript"),
    ]
    mask = cases[0].inputs(0)["attention_mask"]
    assert mask.min() == 0
    assert mask.sum(1).min() > 0
    assert torch.equal(cases[0].inputs(1)["input_ids"], cases[0].inputs(1)["input_ids"])
    assert not torch.equal(cases[0].inputs(1)["input_ids"], cases[0].inputs(2)["input_ids"])
