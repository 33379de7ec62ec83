"""state_roundtrip: a module whose state is all there passes; each way to lose a part of it is found."""

import pytest
import torch

from pytest_modelcheck import ModelCase, Verdict
from pytest_modelcheck.calling import build_module, module_inputs
from pytest_modelcheck.torch_checks.state import load_state, save_state, state_roundtrip
from tests import parity_models


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x))))


def rows(seed):
    return (torch.randn(5, 3, generator=torch.Generator().manual_seed(seed)),)


def roundtrip(kind=Net, inputs=rows, **options):
    case = ModelCase(kind.__name__, kind, inputs)
    module = build_module(case)
    return state_roundtrip(case, module, lambda seed: module_inputs(case, module, seed), **options)


def said(report):
    return "\n".join(finding.render() for finding in report.findings)


def torch_load(module, path):
    module.load_state_dict(torch.load(path, weights_only=True))


def test_a_module_whose_state_is_all_there_passes():
    report = roundtrip()
    assert report.findings == (), said(report)
    assert report.text == "9 entries, outputs of 3 seeds bit for bit; 12 of 12 bad files refused"
    assert [refusal.name for refusal in report.refusals] == [
        "no file",
        "an empty file",
        "the first half",
        "all but the last byte",
        "one flipped bit",
        "a text file",
        "an entry of another shape",
        "an entry of another dtype",
        "an entry missing",
        "an entry too many",
        "an entry renamed",
        "the state of another module",
    ]


def test_a_decoder_and_shared_weights_pass():
    class Tied(parity_models.Decoder):
        def __init__(self):
            super().__init__()
            self.head.weight = self.words.weight

    assert roundtrip(Tied, parity_models.ids).findings == ()


def test_the_loader_that_everybody_writes_is_found_wanting():
    report = roundtrip(load=torch_load)
    (finding,) = report.findings
    assert finding.verdict is Verdict.FAIL
    assert finding.render().startswith(
        "expect_state_roundtrip: bad state files expected all 12 to raise a clear error and leave the module as it "
        "was, found "
    )
    faults = dict(line.split(": ", 1) for line in finding.where)
    assert (
        faults["one flipped bit"] == "loaded without an error, and 1 of 9 tensors of the module changed: first.weight"
    )
    assert faults["an entry of another dtype"].startswith("loaded without an error, and 8 of 9 tensors of the module ")
    assert faults["an entry of another shape"].startswith(
        "raised 'RuntimeError: Error(s) in loading state_dict for Net"
    )
    assert (
        "8 of 9 tensors of the module changed: first.weight, first.bias, norm.weight"
        in (faults["an entry of another shape"])
    )
    assert "the error names neither the file nor the entry" in faults["the first half"]
    assert finding.next.startswith("pytest_modelcheck.torch_checks.state.load_state checks sums, names, shapes")


def save_without_the_norm(module, path):
    torch.save({name: value for name, value in module.state_dict().items() if "norm" not in name}, path)


def save_in_half_precision(module, path):
    state = module.state_dict()
    torch.save({name: t.half() if t.is_floating_point() else t for name, t in state.items()}, path)


def load_what_fits(module, path):
    module.load_state_dict(torch.load(path, weights_only=True), strict=False)


def load_unshared(module, path):
    load_state(module, path)
    module.head.weight = torch.nn.Parameter(module.head.weight.detach().clone())


def save_nothing(module, path):
    pass


def broken(module, path):
    raise OSError("disk full")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"save": save_without_the_norm},
            "state file expected the file that was just saved to load, found StateFileError: ",
        ),
        (
            {"save": save_without_the_norm, "load": load_what_fits},
            "state after loading expected the bits of all 9 entries, found other ones in 5: norm.weight, norm.bias, "
            "norm.running_mean, norm.running_var, norm.num_batches_tracked in Net",
        ),
        ({"save": save_in_half_precision}, "is float16[4, 3], the module's float32[4, 3]: loading would round it"),
        (
            {"save": save_in_half_precision, "load": torch_load},
            "state after loading expected the bits of all 9 entries, found other ones in 4: first.weight, first.bias",
        ),
        ({"load": lambda module, path: None}, "state after loading expected the bits of all 9 entries, found other"),
        ({"load": broken}, "state file expected the file that was just saved to load, found OSError: disk full"),
        ({"save": broken}, "found save() raised OSError: disk full"),
        ({"save": save_nothing}, "found save() wrote no file at the path it was given"),
    ],
)
def test_a_save_or_load_that_loses_something_is_found(options, message):
    report = roundtrip(**options)
    assert message in said(report)


def test_entries_that_no_longer_share_memory_are_found():
    class Tied(parity_models.Decoder):
        def __init__(self):
            super().__init__()
            self.head.weight = self.words.weight

    assert (
        "shared entries expected entries that share memory to share it after loading, found a difference in "
        "words.weight = head.weight in Tied"
    ) in said(roundtrip(Tied, parity_models.ids, load=load_unshared))


class HiddenWeight(Net):
    def __init__(self):
        super().__init__()
        self.scale = torch.randn(4)

    def forward(self, x):
        return self.last(self.scale * self.norm(self.first(x)))


class HiddenBuffer(Net):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.randn(4), persistent=False)

    forward = HiddenWeight.forward


@pytest.mark.parametrize("kind", [HiddenWeight, HiddenBuffer])
def test_a_weight_that_is_not_in_the_state_is_found_and_named(kind):
    report = roundtrip(kind)
    assert report.findings[0].verdict is Verdict.FAIL
    assert said(report).startswith(
        "expect_state_roundtrip: output 'output_0' after loading expected the bits of the original, from a module "
        "built under another seed with this state loaded, found other ones, though every entry of the state is equal "
        f"in {kind.__name__} (seed 0)\n  where: scale: is not in the state and differs between the two"
    )


class DerivedBuffer(HiddenBuffer):
    def __init__(self):
        super().__init__()
        self.scale = torch.arange(4.0)


def test_a_buffer_outside_the_state_that_every_build_makes_alike_is_fine():
    assert roundtrip(DerivedBuffer).findings == ()


class Counts(Net):
    """Runtime state among the weights."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class Remembers(Net):
    """A running mean of what came before, in a buffer of its own."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(2), persistent=False)

    def forward(self, x):
        made = super().forward(x) + self.mean
        self.mean = 0.5 * self.mean + 0.5 * made.mean(0)
        return made


class RemembersInAnAttribute(Net):
    mean = 0.0

    def forward(self, x):
        made = super().forward(x) + self.mean
        self.mean = float(made.mean())
        return made


class RemembersInBoth(Remembers):
    """Resets its attribute where the buffer says that nothing came before."""

    calls = 0

    def forward(self, x):
        self.calls = 0 if not self.mean.any() else self.calls + 1
        return super().forward(x) + self.calls


def test_runtime_state_among_the_weights_is_found():
    assert (
        "state expected weights only: entries that a forward in eval mode leaves as they are, found runtime state "
        "among them: calls in Counts"
    ) in said(roundtrip(Counts))


def test_runtime_state_in_buffers_of_its_own_passes_and_is_named():
    report = roundtrip(Remembers)
    assert report.findings == (), said(report)
    assert "; runtime state apart: mean; " in report.text


def test_runtime_state_that_no_save_sees_is_found_and_named():
    report = roundtrip(RemembersInAnAttribute)
    assert said(report).startswith(
        "expect_state_roundtrip: runtime state expected outputs that do not depend on earlier calls once every buffer "
        "has its content back, found other outputs for the same inputs after a call with others in "
        "RemembersInAnAttribute\n  where: mean: an attribute that a forward changed"
    )


def test_runtime_state_that_is_only_partly_in_buffers_is_found():
    assert (
        "runtime state expected the bits of a continued run from the saved buffers (mean), found other outputs"
    ) in said(roundtrip(RemembersInBoth))


class Constant(Net):
    def forward(self, x):
        return super().forward(x) * 0


class IgnoresItsState(Net):
    def forward(self, x):
        return x[:, :2] * 2


class WithoutState(torch.nn.Module):
    def forward(self, x):
        return x * 2


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Constant, "empty comparison: the reference is constant"),
        (IgnoresItsState, "outputs expected outputs that depend on the state, found the same bits from a module with"),
        (WithoutState, "has no state: its state_dict holds no tensor"),
    ],
)
def test_what_cannot_fail_is_an_error(kind, message):
    report = roundtrip(kind)
    assert report.findings[0].verdict is Verdict.ERROR
    assert message in said(report)


class Renamed(Net):
    """Version 2 calls `first` what version 1 called `input`, and has a scale that version 1 did not have."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.rand(4))

    def forward(self, x):
        return self.last(self.scale * self.norm(self.first(x)))

    def _load_from_state_dict(self, state, prefix, metadata, *args):
        if metadata.get("version", 1) < 2:
            for name in ("weight", "bias"):
                state[f"{prefix}first.{name}"] = state.pop(f"{prefix}input.{name}")
            self.default(state, prefix)
        super()._load_from_state_dict(state, prefix, metadata, *args)

    def default(self, state, prefix):
        state[f"{prefix}scale"] = torch.ones(4)


class KeepsItsOwnScale(Renamed):
    def default(self, state, prefix):
        state[f"{prefix}scale"] = self.scale.detach()


class WithoutHook(Renamed):
    _load_from_state_dict = torch.nn.Module._load_from_state_dict


@pytest.fixture
def version_1(tmp_path):
    torch.manual_seed(5)
    net = Net()
    state = {name.replace("first.", "input."): value for name, value in net.state_dict().items()}
    torch.save(state, tmp_path / "version_1.pt")
    return tmp_path / "version_1.pt"


def test_a_file_of_an_older_version_loads_through_the_hook(version_1):
    report = roundtrip(Renamed, older=(version_1,))
    assert report.findings == (), said(report)
    assert report.text.endswith("; older: version_1.pt")


def test_an_older_file_that_does_not_load_is_found(version_1):
    report = roundtrip(WithoutHook, older=(version_1,))
    assert "older state expected a file that loads, found StateFileError: " in said(report)
    assert 'Missing key(s) in state_dict: "scale", "first.weight", "first.bias"' in said(report)
    assert "(older file version_1.pt)" in said(report)


def test_an_older_file_that_leaves_an_entry_as_it_was_is_found_and_the_entry_named(version_1):
    assert said(roundtrip(KeepsItsOwnScale, older=(version_1,))).startswith(
        "expect_state_roundtrip: older state expected outputs that the file alone determines, found other outputs "
        "where the module held other values before in KeepsItsOwnScale (older file version_1.pt)\n"
        "  where: scale: keeps what the module held"
    )


def test_an_older_file_that_is_not_there_is_found(tmp_path):
    assert "there is no such file" in said(roundtrip(older=(tmp_path / "gone.pt",)))


def test_the_version_of_each_module_comes_back_from_the_file(tmp_path):
    class Asks(Renamed):
        def _load_from_state_dict(self, state, prefix, metadata, *args):
            self.seen = metadata.get("version")
            super()._load_from_state_dict(state, prefix, metadata, *args)

    module = Asks()
    save_state(module, tmp_path / "state.pt")
    load_state(module, tmp_path / "state.pt")
    assert module.seen == 2
