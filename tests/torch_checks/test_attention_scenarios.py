"""The eight scenarios of examples/attention_parity: the module passes each, and a fault planted in each is seen."""

import math
import types

import numpy as np
import pytest
import torch

from examples.attention_parity import numpy_golden, reference
from examples.attention_parity.attention import Attention
from examples.attention_parity.case import CASE, GOLDEN, build, inputs
from examples.attention_parity.scenarios import CONTEXT, LARGE, SCENARIOS, X, built
from pytest_modelcheck.accuracy import compare, to_numpy
from pytest_modelcheck.calling import module_inputs
from pytest_modelcheck.calling.fingerprints import state_hashes
from pytest_modelcheck.golden import check_golden, read_golden
from pytest_modelcheck.torch_checks.cache import cache_parity
from pytest_modelcheck.torch_checks.cache.protocol import CacheProtocol

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def replaced(name, function):
    def plant(module):
        setattr(module, name, types.MethodType(function, module))

    return plant


def compared(scenario, plant=None):
    """The reference knows the weights of the faultless module only."""
    right, module = scenario.build(), scenario.build()
    if plant:
        plant(module)
    expected = {name: to_numpy(tensor) for name, tensor in scenario.expected(right).items()}
    given = {name: to_numpy(tensor) for name, tensor in scenario.given(module).items()}
    return compare(expected, given, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_module_gives_what_torch_functional_gives(name):
    comparison = compared(BY_NAME[name])
    assert comparison.passed, comparison.finding.render()


def scaled_by(size):
    return replaced("scale", lambda self: 1 / math.sqrt(size(self)))


def keys_from_values(module):
    module.key, module.value = module.value, module.key


def heads_shifted(module):
    original = module.append
    module.append = lambda past, new: original(past, (new[0], new[1].roll(1, 1)))


def appended(function):
    return replaced("append", function)


def in_front(self, past, new):
    return new if past is None else (torch.cat([new[0], past[0]], 2), torch.cat([new[1], past[1]], 2))


def newest_lost(self, past, new):
    if past is None:
        return new
    return torch.cat([past[0][:, :, 1:], new[0]], 2), torch.cat([past[1][:, :, 1:], new[1]], 2)


def off_by_one(self, queries, keys):
    return torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries - (keys > queries))


def from_the_wrong_corner(self, queries, keys):
    return torch.ones(queries, keys, dtype=torch.bool).tril(0)


def sees_the_future(self, queries, keys):
    return torch.ones(queries, keys, dtype=torch.bool)


def forget_bias(module):
    with torch.no_grad():
        module.value.bias.zero_()


def rows_exchanged(module):
    module.register_forward_pre_hook(lambda module, args: (args[0].flip(0), *args[1:]))


FAULTS = [
    ("small self-attention", "scaled by d instead of its root", scaled_by(lambda module: module.key_size**2)),
    ("small self-attention", "query and key swapped", lambda m: setattr(m, "query", m.key)),
    ("small self-attention", "a mask too much", lambda m: setattr(m, "causal", True)),
    ("cross-attention", "keys and values swapped", keys_from_values),
    ("cross-attention", "bias of the values dropped", forget_bias),
    ("different d_k and d_v", "scaled by d_v", scaled_by(lambda module: module.value_size)),
    ("different d_k and d_v", "scaled by width / heads", scaled_by(lambda module: 4)),
    ("shared keys and values", "values of another projection", lambda m: setattr(m, "value", m.query)),
    ("shared keys and values", "heads of the values shifted", heads_shifted),
    ("with caching", "keys and values handed out swapped", appended(lambda self, past, new: (new[1], new[0]))),
    ("with caching", "no mask", replaced("visible", sees_the_future)),
    ("using a cache", "new keys in front of the old ones", appended(in_front)),
    ("using a cache", "mask off by one", replaced("visible", off_by_one)),
    ("using a cache", "the cache ignored", appended(lambda self, past, new: new)),
    ("streaming", "mask from the wrong corner", replaced("visible", from_the_wrong_corner)),
    ("streaming", "the oldest position lost", appended(newest_lost)),
    ("streaming", "chunks see their own future", replaced("visible", sees_the_future)),
    ("large batch, dropout off", "dropout left on", lambda module: module.dropout.train()),
    ("large batch, dropout off", "rows of the batch exchanged", rows_exchanged),
]


@pytest.mark.parametrize(("name", "fault", "plant"), FAULTS, ids=[f"{name}: {fault}" for name, fault, _ in FAULTS])
def test_a_planted_fault_is_seen(name, fault, plant):
    comparison = compared(BY_NAME[name], plant)
    assert not comparison.passed
    assert comparison.finding.verdict == "fail"


def test_every_scenario_has_a_planted_fault():
    assert {name for name, _, _ in FAULTS} == set(BY_NAME)
    assert len(SCENARIOS) == 8


@pytest.mark.parametrize(("x", "context"), [(X, None), (X, CONTEXT), (LARGE, None)])
def test_two_functions_of_torch_agree_on_the_reference(x, context):
    module = built(8, 2, context_width=None if context is None else 12)()
    state = dict(module.state_dict())
    first = reference.attention(state, 2, x, context)
    second = reference.multi_head_attention(state, 2, x, context)
    assert compare({"y": first.numpy()}, {"y": second.numpy()}, atol=1e-6, rtol=1e-6).passed


def test_the_reference_uses_no_line_of_the_module(monkeypatch):
    scenario = BY_NAME["streaming"]
    module = scenario.build()
    right = scenario.expected(module)["output"]
    for name in ("forward", "append", "visible", "scale", "split"):
        monkeypatch.setattr(Attention, name, None)
    assert torch.equal(scenario.expected(module)["output"], right)


# -- the golden file ---------------------------------------------------------------------------------------------------


def golden_report(plant=None):
    module = build().eval()
    if plant:
        plant(module)
    return check_golden(read_golden(GOLDEN), CASE, module, lambda seed: module_inputs(CASE, module, seed))


def test_the_golden_file_is_what_numpy_computes_from_these_weights_and_inputs():
    golden = read_golden(GOLDEN)
    module = build()
    assert golden.weights == state_hashes(module, runtime=False)
    state = {name: value.numpy().astype(np.float64) for name, value in module.state_dict().items()}
    for seed in golden.seeds:
        computed = numpy_golden.attention(state, inputs(seed)["x"].numpy().astype(np.float64))
        np.testing.assert_allclose(golden.outputs[seed]["output"], computed, rtol=1e-6, atol=1e-7)


def test_the_module_agrees_with_the_golden_file_and_a_faulty_one_does_not():
    assert golden_report().findings == ()
    for plant in (
        replaced("visible", sees_the_future),
        scaled_by(lambda module: module.key_size + 0.01),
        replaced("append", lambda self, past, new: (new[0], new[1].flip(0))),
        lambda module: module.dropout.__setattr__("p", 0.1) or module.dropout.train(),
    ):
        assert [finding.verdict for finding in golden_report(plant).findings][:1] == ["fail"]


def test_the_cache_of_the_module_differs_from_the_full_pass_by_rounding_at_most():
    wide = built(64, 4, causal=True)()
    case = CASE

    def drawn(seed):
        x = torch.randn(2, 33, 64, generator=torch.Generator().manual_seed(seed))
        return module_inputs(type(case)("wide", build, lambda _: {"x": x}), wide, seed)

    protocol = CacheProtocol(cache=("past", "present"), sequence={"x": 1})
    report = cache_parity(case, wide, drawn, protocol=protocol)
    assert report.findings == ()
    assert 0 < report.scaled < 1e-6
