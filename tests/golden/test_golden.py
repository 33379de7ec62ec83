"""check_golden: numpy as the other framework; other weights, other inputs, other numbers and a blind test are found."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.accuracy import Tolerances
from pytest_modelcheck.calling import build_module, module_inputs
from pytest_modelcheck.calling.fingerprints import state_hashes
from pytest_modelcheck.golden import check_golden, read_golden, write_golden


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)

    def forward(self, x, mask):
        return {"y": self.last(torch.tanh(self.first(x))) * mask[:, None]}


class Relu(Net):
    def forward(self, x, mask):
        return {"y": self.last(torch.relu(self.first(x))) * mask[:, None]}


def inputs(seed):
    generator = torch.Generator().manual_seed(seed)
    return {"x": torch.randn(5, 3, generator=generator), "mask": torch.tensor([1, 1, 1, 1, 0])}


CASE = ModelCase("net", Net, inputs)


def by_numpy(module, x, mask):
    """The same computation by numpy in float64."""
    state = {name: value.numpy().astype(np.float64) for name, value in module.state_dict().items()}
    hidden = np.tanh(x @ state["first.weight"].T + state["first.bias"])
    return (hidden @ state["last.weight"].T + state["last.bias"]) * mask[:, None]


@pytest.fixture
def golden(tmp_path):
    module = build_module(CASE)
    drawn = {seed: {name: value.numpy() for name, value in inputs(seed).items()} for seed in (0, 1)}
    write_golden(
        tmp_path / "net.npz",
        producer="numpy, float64",
        versions={"numpy": "1.0"},
        weights=module,
        inputs=drawn,
        outputs={seed: {"y": by_numpy(module, **named).astype(np.float32)} for seed, named in drawn.items()},
        note="written by hand from the formula",
    )
    return read_golden(tmp_path / "net.npz")


def checked(golden, case=CASE, module=None, **options):
    module = module or build_module(case)
    return check_golden(golden, case, module, lambda seed: module_inputs(case, module, seed), **options)


def said(report):
    return "\n".join(finding.render() for finding in report.findings)


def test_a_module_that_computes_the_same_passes_and_every_change_to_it_is_seen(golden):
    module = build_module(CASE)
    before = state_hashes(module)
    report = checked(golden, module=module)
    assert report.findings == (), said(report)
    assert report.scaled <= 1e-6
    assert [(probe.kind, probe.name, probe.seen) for probe in report.probes] == [
        ("weight", "first.weight", True),
        ("weight", "first.bias", True),
        ("weight", "last.weight", True),
        ("weight", "last.bias", True),
        ("input", "x", True),
        ("input", "mask", True),
    ]
    assert report.text.startswith("torch against numpy, float64 ")
    assert report.text.endswith(" over 2 seeds; 4 of 4 changed weights seen, 2 of 2 changed inputs seen")
    assert state_hashes(module) == before


def test_another_computation_is_found_with_the_producer_and_the_versions(golden):
    report = checked(golden, dataclasses.replace(CASE, build=Relu), versions={"numpy": "2.0"})
    (finding, _) = report.findings
    assert finding.verdict is Verdict.FAIL
    assert finding.gate == "expect_golden"
    assert finding.context == "torch, seed 0, against numpy, float64"
    assert finding.where[-2:] == (
        "reference: numpy, float64 (numpy 1.0); now numpy 2.0",
        "written by hand from the formula",
    )
    assert finding.next == "Weights and inputs are those of the reference, so the computation differs."


def test_another_weight_is_its_own_finding_and_no_numbers_are_compared(golden):
    module = build_module(CASE)
    with torch.no_grad():
        module.first.weight[0, 0] += 1e-7
        module.last.bias[1] *= -1
    report = checked(golden, module=module)
    assert report.comparisons == ()
    assert said(report) == (
        "[error] expect_golden: weights expected those of the reference (4 entries, hash by hash), found 2 other "
        "entries: the outputs cannot be compared in net\n"
        "  where: first.weight: other values\n"
        "         last.bias: other values\n"
        "  next:  The reference was computed by numpy, float64 from other weights. Load those, or compute the "
        "reference again. Random weights change with the version of torch and with every line of build()."
    )


class Wider(Net):
    def __init__(self):
        super().__init__()
        self.first.bias = None
        self.scale = torch.nn.Parameter(torch.ones(()))


def test_an_entry_that_only_one_side_has_is_named(golden):
    report = checked(golden, dataclasses.replace(CASE, build=Wider))
    assert "first.bias: is not in the module" in said(report)
    assert "scale: is not in the reference" in said(report)


class Renamed(torch.nn.Module):
    """`Net` with its first layer under another name."""

    def __init__(self, activation=torch.tanh):
        super().__init__()
        self.enter, self.last, self.activation = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2), activation

    def forward(self, x, mask):
        return {"y": self.last(self.activation(self.enter(x))) * mask[:, None]}


def test_renamed_weights_are_the_same_weights(golden):
    assert checked(golden, dataclasses.replace(CASE, build=Renamed)).findings == ()
    other = checked(golden, dataclasses.replace(CASE, build=lambda: Renamed(torch.relu)))
    assert "expect_golden: output 'y' expected" in said(other)


def test_other_inputs_are_their_own_finding(golden):
    def shifted(seed):
        made = inputs(seed)
        return {"x": made["x"] + (seed == 1), "mask": made["mask"].float()}

    report = checked(golden, dataclasses.replace(CASE, inputs=shifted))
    assert report.comparisons == ()
    assert said(report).startswith(
        "[error] expect_golden: inputs expected those of the reference (seeds 0, 1, hash by hash), found 3 other "
        "inputs: the outputs cannot be compared in net\n"
        "  where: mask of seed 0: other values\n"
        "         x of seed 1: other values\n"
        "         mask of seed 1: other values\n"
    )
    renamed = dataclasses.replace(golden, inputs={seed: {"z": "0"} for seed in golden.seeds})
    assert "z of seed 0: on one side only" in said(checked(renamed))


def test_a_tolerance_that_nothing_can_fail_is_refused(golden):
    assert "found nothing can fail: atol 0.2 hides a change of 0.1 % of this output" in said(
        checked(golden, tolerances=Tolerances(0.2, 0.0))
    )


class BarelyWeighted(Net):
    def forward(self, x, mask):
        return {"y": x[:, :2] + 1e-4 * super().forward(x, mask)["y"]}


def test_a_tolerance_that_lets_a_changed_weight_pass_is_refused_as_blind(golden):
    case = dataclasses.replace(CASE, build=BarelyWeighted)
    module = build_module(case)
    outputs = {seed: {"y": module(**inputs(seed))["y"].detach().numpy()} for seed in golden.seeds}
    report = checked(dataclasses.replace(golden, outputs=outputs), case, module, tolerances=Tolerances(1e-4, 0.0))
    assert said(report).startswith(
        "[error] expect_golden: golden expected a comparison that fails when one weight is changed by a tenth, found "
        "an insensitive one: 0 of 4 perturbed weights were detected in net\n  where: first.weight: largest effect "
    )
    assert report.comparisons[0].passed


class IgnoresTheInput(Net):
    def forward(self, x, mask):
        return super().forward(torch.arange(15.0).reshape(5, 3) / 15, mask * 0 + 1)


def test_outputs_that_no_input_reaches_are_refused_as_blind(golden):
    case = dataclasses.replace(CASE, build=IgnoresTheInput)
    module = build_module(case)
    outputs = {0: {"y": module(**inputs(0))["y"].detach().numpy()}}
    reference = dataclasses.replace(golden, inputs={0: golden.inputs[0]}, outputs=outputs)
    report = checked(reference, case)
    assert "one input is changed by a tenth, found an insensitive one: 0 of 2 perturbed inputs were detected" in said(
        report
    )
    assert "x: largest effect 0" in said(report)


class AttentionBias(torch.nn.Module):
    """A bias of the keys cancels in the softmax: no comparison can see it, and none has to."""

    def __init__(self):
        super().__init__()
        self.query, self.key, self.value = (torch.nn.Linear(3, 3) for _ in range(3))

    def forward(self, x):
        return (self.query(x) @ self.key(x).T / math.sqrt(3)).softmax(-1) @ self.value(x)


def test_a_weight_that_cannot_reach_the_outputs_does_not_count(tmp_path):
    case = ModelCase("attention", AttentionBias, lambda seed: {"x": inputs(seed)["x"]})
    module = build_module(case)
    x = inputs(0)["x"]
    write_golden(
        tmp_path / "a.npz",
        producer="torch",
        versions={"torch": "0"},
        weights=module,
        inputs={0: {"x": x}},
        outputs={0: {"output_0": module(x).detach()}},
    )
    report = checked(read_golden(tmp_path / "a.npz"), case)
    assert report.findings == (), said(report)
    unseen = [probe for probe in report.probes if not probe.seen]
    assert [(probe.name, probe.reached) for probe in unseen] == [("key.bias", False)]


def test_a_candidate_of_another_stage_is_what_is_judged(golden):
    module = build_module(CASE)

    def candidate(made):
        return {"y": module(**made.as_dict())["y"].detach().numpy() + np.float32(1e-3)}

    report = checked(golden, candidate=candidate, stage="exported")
    assert report.findings[0].context == "exported, seed 0, against numpy, float64"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda y: y.astype(np.float64),
            "output 'y' expected float64[5, 2], found retyped: float32 instead of float64",
        ),
        (lambda y: y[:, :1], "output 'y' expected float32[5, 1], found reshaped: [5, 2] instead of [5, 1]"),
        (lambda y: y * np.float32(1.001), "found max |difference| "),
        (lambda y: y[::-1], "found max |difference| "),
        (lambda y: -y, "found max |difference| "),
    ],
)
def test_a_reference_that_is_another_one_fails(golden, change, message):
    outputs = {seed: {"y": change(named["y"])} for seed, named in golden.outputs.items()}
    assert message in said(checked(dataclasses.replace(golden, outputs=outputs)))


def test_a_model_that_raises_is_an_error(golden):
    class Raises(Net):
        def forward(self, x, mask):
            raise IndexError("no room")

    report = checked(golden, dataclasses.replace(CASE, build=Raises))
    assert "[error] expect_golden: golden expected a comparison, found forward(x: float32[5, 3]" in said(report)
    assert "raised IndexError: no room" in said(report)
