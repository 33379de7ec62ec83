"""load_state: a good file loads; any bad one is an error that names what is wrong and changes nothing."""

import copy

import pytest
import torch

from pytest_modelcheck.calling.fingerprints import state_hashes, tensor_hash
from pytest_modelcheck.torch_checks.state import StateFileError, load_state, save_state


def net(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3)).eval()


@pytest.fixture
def file(tmp_path):
    save_state(net(), tmp_path / "state.pt")
    return tmp_path / "state.pt"


def test_what_was_saved_loads_bit_for_bit(file):
    target = net(1)
    assert state_hashes(target) != state_hashes(net())
    load_state(target, file)
    assert state_hashes(target) == state_hashes(net())


@pytest.mark.parametrize("bit", [0x01, 0x10, 0x80])
def test_no_flipped_bit_anywhere_in_the_file_loads_other_values(file, bit):
    content = file.read_bytes()
    target, right = net(1), state_hashes(net())
    load_state(target, file)
    refused = 0
    for at in range(bit % 23, len(content), 23):
        file.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
        try:
            load_state(target, file)
        except StateFileError:
            refused += 1
        assert state_hashes(target) == right, at
    assert refused > len(content) / 23 / 2


def test_torch_itself_loads_a_file_with_a_flipped_bit_without_a_word(file):
    content = bytearray(file.read_bytes())
    at = content.find(net()[0].weight.detach().numpy().tobytes()) + 3
    content[at] ^= 0x10
    file.write_bytes(content)
    state = torch.load(file, weights_only=True)
    assert not torch.equal(state["0.weight"], net()[0].weight)
    with pytest.raises(StateFileError, match=r"state\.pt: is damaged: its part 'state/data/0' has a wrong checksum"):
        load_state(net(), file)


def changed_state(file, change):
    state = {name: value + 1 if value.is_floating_point() else value for name, value in net().state_dict().items()}
    change(state)
    torch.save(state, file)


MISMATCHES = {
    "size mismatch for 2.weight": lambda state: state.update({"2.weight": torch.zeros(3, 9)}),
    "Missing key(s) in state_dict: \"2.weight\"": lambda state: state.pop("2.weight"),
    "Unexpected key(s) in state_dict: \"more\"": lambda state: state.update(more=torch.ones(1)),
    "entry '2.weight' is float16[3, 8], the module's float32[3, 8]: loading would round it": lambda state: state.update(
        {"2.weight": state["2.weight"].half()}
    ),
}  # fmt: skip


@pytest.mark.parametrize("message", MISMATCHES)
def test_a_state_that_does_not_fit_changes_nothing(file, message):
    changed_state(file, MISMATCHES[message])
    target = net()
    before, places = state_hashes(target), [id(parameter) for parameter in target.parameters()]
    with pytest.raises(StateFileError) as error:
        load_state(target, file)
    assert message in str(error.value)
    assert str(file) in str(error.value)
    assert state_hashes(target) == before
    assert [id(parameter) for parameter in target.parameters()] == places


def test_torch_itself_copies_what_fits_before_it_raises(file):
    changed_state(file, lambda state: state.update({"2.weight": torch.zeros(3, 9)}))
    target = net()
    before = state_hashes(target)
    with pytest.raises(RuntimeError, match="size mismatch"):
        target.load_state_dict(torch.load(file, weights_only=True))
    after = state_hashes(target)
    assert [name for name in before if before[name] != after[name]] == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "2.bias",
        "1.running_mean",
        "1.running_var",
    ]


def test_a_hook_that_replaces_a_parameter_and_raises_is_undone(file):
    class Replaces(torch.nn.Linear):
        def _load_from_state_dict(self, *args):
            self.weight = torch.nn.Parameter(torch.zeros(2, 2))
            self.register_buffer("new", torch.ones(1))
            raise ValueError("no")

    target = torch.nn.Sequential(Replaces(6, 8))
    before, weight = state_hashes(target), target[0].weight
    with pytest.raises(StateFileError, match="does not fit Sequential: no"):
        load_state(target, file)
    assert state_hashes(target) == before
    assert target[0].weight is weight


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"", "is not a complete state file"),
        (b"text", "is not a complete state file (File is not a zip file)"),
    ],
)
def test_what_is_no_state_file_is_said_so(tmp_path, content, message):
    path = tmp_path / "x.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StateFileError) as error:
        load_state(net(), path)
    assert str(error.value).startswith(f"{path}: {message}")


def test_a_file_that_needs_pickle_or_holds_no_state_is_refused(tmp_path):
    torch.save(copy.deepcopy(net()), tmp_path / "module.pt")
    with pytest.raises(StateFileError, match=r"module\.pt: cannot be read: UnpicklingError"):
        load_state(net(), tmp_path / "module.pt")
    torch.save([torch.ones(1)], tmp_path / "list.pt")
    with pytest.raises(StateFileError, match=r"list\.pt: holds a list, not the entries of a state"):
        load_state(net(), tmp_path / "list.pt")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.bool, torch.complex64])
def test_hashes_tell_bits_dtypes_and_shapes_apart_and_strides_not(dtype):
    tensor = torch.tensor([[1, 0], [0, 1]]).to(dtype)
    assert tensor_hash(tensor) == tensor_hash(tensor.t().contiguous().t())
    assert tensor_hash(tensor) != tensor_hash(tensor.reshape(4))
    assert tensor_hash(tensor) != tensor_hash(tensor.to(torch.complex128))
    assert tensor_hash(torch.tensor(0.0)) != tensor_hash(torch.tensor(-0.0))
    assert tensor_hash(torch.empty(0)) != tensor_hash(torch.empty(0, 2))
