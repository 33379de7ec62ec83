"""Models whose numbers cannot simply be locked: right, or one sentence that says what is not locked and why."""

import pytest
import torch
from torch import nn

from pytest_modelcheck import ModelCase
from pytest_modelcheck.calling import build_module
from pytest_modelcheck.calling.fingerprints import state_hashes
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.numbers import numbers_of, text
from pytest_modelcheck.numbers.judging import judge


def vectors(seed):
    return {"x": torch.randn(4, 32, generator=torch.Generator().manual_seed(seed))}


def case_of(build, inputs=vectors):
    return ModelCase("odd", build, inputs)


def numbers(case):
    return numbers_of(case, build_module(case))


def body(case):
    return text.render(numbers(case))


def found(recorded, case):
    return judge(recorded, numbers(case)).found


class Chaotic(nn.Module):
    """Sixty layers of gain 3: a change of 1e-6 fills the range of tanh."""

    def __init__(self, first=torch.tanh):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32, 32) for _ in range(60))
        self.first = first

    def forward(self, x):
        x = self.first(self.layers[0](x))
        for layer in self.layers[1:]:
            x = torch.tanh(3 * layer(x))
        return x


def test_a_chaotic_model_is_compared_by_what_is_stable_and_says_so():
    recorded = body(case_of(Chaotic))
    assert "  plain: not locked, unstable: a change of all weights by 1e-05 moves it by " in recorded
    assert " ~ " in recorded
    assert [found(recorded, case_of(Chaotic)) for _ in range(5)] == [""] * 5
    changed = judge(recorded, numbers(case_of(lambda: Chaotic(torch.sigmoid))))
    assert (
        changed.found
        == "the function changed, first at the input of layers.1 (Linear), in the code of (root) (Chaotic)"
    )
    assert changed.where[0].startswith("input of layers.1: plain ")


class Selecting(nn.Module):
    """The ten best of 1,000 scores, and what stands there."""

    def __init__(self, epsilon=1e-5):
        super().__init__()
        self.norm, self.scores, self.values = nn.LayerNorm(32, eps=epsilon), nn.Linear(32, 250), nn.Linear(32, 250)

    def forward(self, x):
        x = self.norm(x)
        best = self.scores(x).flatten().sigmoid().topk(10)
        kept = self.values(x).flatten()[best.indices]
        return {"best": best.values, "places": best.indices, "kept": kept, "positive": kept[kept > 0]}


@pytest.mark.parametrize("sort", [False, True])
def test_a_choice_among_near_ties_does_not_flicker_and_an_epsilon_still_shows(sort):
    recorded = body(case_of(Selecting))
    assert "not locked" not in recorded
    with torch.backends.mkldnn.flags(enabled=sort):
        assert found(recorded, case_of(Selecting)) == ""
    assert found(recorded, case_of(lambda: Selecting(1e-3))).startswith(
        "the function changed, first at the output of norm"
    )


class Noisy(nn.Module):
    def __init__(self, act=torch.tanh):
        super().__init__()
        self.first, self.last, self.act = nn.Linear(32, 8), nn.Linear(8, 2), act

    def forward(self, x):
        hidden = self.act(self.first(x))
        return {"noisy": self.last(hidden + torch.randn_like(hidden)), "calm": hidden}


def test_a_random_output_is_compared_by_dtype_and_shape_and_the_rest_is_locked():
    recorded = body(case_of(Noisy))
    assert recorded.count("not locked, random: it varies with torch's seed") == 2
    assert found(recorded, case_of(Noisy)) == ""
    assert found(recorded, case_of(lambda: Noisy(torch.sin))).startswith("the function changed, ")


class Rounded(nn.Module):
    """Integers that a change of 1e-5 turns into others."""

    def __init__(self, rows=4):
        super().__init__()
        self.linear, self.rows = nn.Linear(32, 8), rows

    def forward(self, x):
        hidden = self.linear(x)
        return {"codes": (1e6 * hidden[: self.rows]).round().long() % 7, "hidden": hidden}


def test_integers_that_are_not_locked_are_compared_by_dtype_and_shape():
    recorded = body(case_of(Rounded))
    assert "codes int64 [4,8]\n  plain: not locked, unstable: a change of all weights by 1e-05 gives others" in recorded
    assert found(recorded, case_of(Rounded)) == ""
    changed = judge(recorded, numbers(case_of(lambda: Rounded(2))))
    assert changed.where[0] == "output codes is now int64 [2,8], was int64 [4,8]"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    def build():
        return nn.Sequential(nn.Linear(32, 8), nn.LayerNorm(8)).to(dtype)

    def inputs(seed):
        return {"input": vectors(seed)["x"].to(dtype)}

    name = str(dtype).removeprefix("torch.")
    recorded = body(case_of(build, inputs))
    assert recorded.startswith(f"dtypes: {name}\n")
    assert "output_0 float32 [4,8]" in recorded
    single = case_of(lambda: build().float(), lambda seed: {"input": vectors(seed)["x"].to(dtype).float()})
    assert found(recorded, single) == f"input input is now float32 [4,32], was {name} [4,32]; the function is the same"
    with torch.no_grad():
        assert build()(inputs(0)["input"]).dtype is dtype


class InsistsOnHalf(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(32, 8).half()

    def forward(self, x):
        return self.linear(x.half())


def test_a_forward_that_insists_on_half_precision_is_said():
    recorded = body(case_of(InsistsOnHalf))
    assert "note: not locked: values; forward() does not run in float32 with drawn weights: RuntimeError: " in recorded
    assert "output_0 float16 [4,8]\n  plain: not locked, see note" in recorded
    assert found(recorded, case_of(InsistsOnHalf)) == ""


class Strict(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(32, 8)
        nn.init.zeros_(self.linear.weight)

    def forward(self, x):
        if bool(self.linear.weight.any()):
            raise ValueError("weights must be zero")
        return self.linear(x)


def test_a_forward_that_fails_with_drawn_weights_is_said_and_one_that_fails_anyway_is_an_error():
    recorded = body(case_of(Strict))
    assert (
        "note: not locked: values; forward() does not run with drawn weights: ValueError: weights must be zero"
        in recorded
    )
    assert found(recorded, case_of(Strict)) == ""
    with pytest.raises(ModelCaseError, match="weights must be zero"):
        numbers(
            case_of(
                lambda: nn.Sequential(Strict(), nn.ReLU()).apply(lambda m: [p.data.fill_(1) for p in m.parameters()]),
                lambda seed: {"input": vectors(seed)["x"]},
            )
        )


def test_inputs_that_are_not_drawn_from_the_seed_are_said():
    count = [0]

    def inputs(seed):
        count[0] += 1
        return {"input": torch.full((4, 32), float(count[0]))}

    case = case_of(lambda: nn.Linear(32, 2), inputs)
    recorded = body(case)
    assert "note: not locked: values; inputs(0) differs from call to call, draw it from its seed" in recorded
    assert "\ninput float32 [4,32]\n" in recorded
    assert found(recorded, case) == ""
    steady = body(case_of(lambda: nn.Linear(32, 2), lambda seed: {"input": torch.ones(4, 32)}))
    assert found(steady, case) == (
        "values can no longer be compared: inputs(0) differs from call to call, draw it from its seed"
    )


def test_without_parameters_the_code_alone_is_locked():
    recorded = body(case_of(nn.Softmax, lambda seed: {"input": vectors(seed)["x"]}))
    assert "dtypes" not in recorded
    assert found(recorded, case_of(lambda: nn.Softmax(-1), lambda seed: {"input": vectors(seed)["x"]})) == ""
    assert found(recorded, case_of(lambda: nn.Softmax(0), lambda seed: {"input": vectors(seed)["x"]})).startswith(
        "the function changed"
    )


class Classes(nn.Module):
    def __init__(self, largest=True):
        super().__init__()
        self.head, self.largest = nn.Linear(32, 5), largest

    def forward(self, x):
        scores = self.head(x)
        return scores.argmax(-1) if self.largest else scores.argmin(-1)


def test_integer_outputs_are_locked_exactly():
    recorded = body(case_of(Classes))
    assert "output_0 int64 [4]\n" in recorded
    assert found(recorded, case_of(Classes)) == ""
    change = judge(recorded, numbers(case_of(lambda: Classes(largest=False))))
    assert change.where[0] == "output output_0, plain: other values"


def test_packed_weights_are_named_and_keep_their_values():
    def build():
        model = nn.Sequential(nn.Linear(32, 8), nn.ReLU())
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)

    case = case_of(build, lambda seed: {"input": vectors(seed)["x"]})
    recorded = body(case)
    assert "note: not drawn: packed weights of 0" in recorded
    assert found(recorded, case) == ""


def test_integer_parameters_are_named():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.q = nn.Parameter(torch.arange(64).view(2, 32), requires_grad=False)

        def forward(self, x):
            return x @ self.q.T.float()

    assert "note: not drawn: q: integers, packed or sparse; their own values take part" in body(case_of(Scaled))


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(32, 4)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.calls += 1
        return self.linear(x) * self.calls


def test_the_module_is_left_as_it_was_and_its_state_does_not_leak_into_the_numbers():
    module = build_module(case_of(Counting))
    before = state_hashes(module)
    first = numbers_of(case_of(Counting), module)
    assert numbers_of(case_of(Counting), module) == first
    assert state_hashes(module) == before
    assert not module._forward_hooks
    assert not module._forward_pre_hooks


def test_a_module_that_is_called_several_times_has_one_number_per_call():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(32, 32)

        def forward(self, x):
            return self.layer(torch.tanh(self.layer(x)))

    (row,) = [line for line in body(case_of(Shared)).splitlines() if line.startswith("layer ")]
    assert len(row.split("out ")[1].split(" | ")[0].split()) == 2


def test_a_forward_with_a_branch_as_an_operator_runs():
    def both(x):
        return torch.cond(x.sum() > 0, lambda y: y.sin(), lambda y: y.cos(), (x,))

    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(32, 4)

        def forward(self, x):
            return both(self.linear(x))

    recorded = body(case_of(Branching))
    assert found(recorded, case_of(Branching)) == ""
    assert build_module(case_of(Branching))(vectors(0)["x"]).shape == (4, 4)  # and outside of a check
