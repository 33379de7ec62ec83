"""Transfers planted one by one: each is found, with its line and module; what does not wait is not reported."""

from operator import setitem

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.torch_checks.transfers import TransferKind, host_transfers

READ, SIZE, TO_HOST, TO_DEVICE = TransferKind.READ, TransferKind.SIZE, TransferKind.TO_HOST, TransferKind.TO_DEVICE


class Doing(torch.nn.Module):
    """Runs `body(x)` inside a submodule named `inner`."""

    def __init__(self, body):
        super().__init__()
        self.inner = Body(body)

    def forward(self, x):
        return self.inner(x)


class Body(torch.nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body
        self.weight = torch.nn.Parameter(torch.ones(4))

    def forward(self, x):
        return self.body(x * self.weight)


def transfers_of(body):
    return host_transfers(Doing(body), (torch.arange(1.0, 5.0),))


PLANTED = {
    "item": (READ, lambda x: x[0].item()),
    "bool": (READ, lambda x: x if x.sum() > 0 else -x),
    "int": (READ, lambda x: int(x[0])),
    "float": (READ, lambda x: float(x[0])),
    "index": (READ, lambda x: range(3)[x[0].long()]),
    "slice_bound": (READ, lambda x: x[: x[0].long()]),
    "format": (TO_HOST, lambda x: f"{x[0]:.3f}"),
    "repr": (TO_HOST, lambda x: repr(x)),
    "equal": (READ, lambda x: torch.equal(x, x + 1)),
    "allclose": (READ, lambda x: torch.allclose(x, x + 1)),
    "linalg_checks_its_result": (READ, lambda x: torch.linalg.inv(torch.eye(4, device=x.device) + torch.diag(x))),
    "assertion_in_the_library": (READ, lambda x: torch.arange(x.max())),
    "nonzero": (SIZE, lambda x: x.nonzero()),
    "where_of_one_argument": (SIZE, lambda x: torch.where(x > 2)),
    "masked_select": (SIZE, lambda x: torch.masked_select(x, x > 2)),
    "boolean_index": (SIZE, lambda x: x[x > 2]),
    "unique": (SIZE, lambda x: torch.unique(x)),
    "repeat_interleave": (SIZE, lambda x: x.repeat_interleave(x.long())),
    "cpu": (TO_HOST, lambda x: x.cpu()),
    "to_cpu": (TO_HOST, lambda x: x.to("cpu")),
    "to_torch_device": (TO_HOST, lambda x: x.to(device=torch.device("cpu"), dtype=torch.float64)),
    "numpy": (TO_HOST, lambda x: x.numpy()),
    "numpy_asarray": (TO_HOST, lambda x: np.asarray(x)),
    "tolist": (TO_HOST, lambda x: x.tolist()),
    "tensor_with_device": (TO_DEVICE, lambda x: x + torch.tensor([1.0, 2.0, 3.0, 4.0], device=x.device)),
    "as_tensor_with_device": (TO_DEVICE, lambda x: torch.as_tensor(3.0, device=x.device)),
    "new_tensor": (TO_DEVICE, lambda x: x.new_tensor([1.0, 2.0])),
    "host_tensor_to_device": (TO_DEVICE, lambda x: x + torch.arange(4).to(x.device)),
    "host_tensor_to_other": (TO_DEVICE, lambda x: x + torch.arange(4).to(x)),
    "host_index": (TO_DEVICE, lambda x: x[torch.arange(2)]),
    "copy_into_host_tensor": (TO_HOST, lambda x: torch.zeros(4).copy_(x)),
    "copy_of_a_host_number": (TO_DEVICE, lambda x: x.copy_(torch.tensor(3.0))),
    "number_into_one_place": (TO_DEVICE, lambda x: setitem(x, 0, 3.0)),
    "number_into_places_by_index": (TO_DEVICE, lambda x: setitem(x, torch.arange(2, device=x.device), 3.0)),
    "device_number_under_a_mask": (SIZE, lambda x: setitem(x, x > 2, x.sum())),
    "device_number_under_a_mask_by_index_put": (SIZE, lambda x: x.index_put_((x > 2,), x.sum())),
    "list_index": (TO_DEVICE, lambda x: x[[0, 2]]),
    "array_index": (TO_DEVICE, lambda x: x[np.array([0, 2])]),
    "host_mask": (TO_DEVICE, lambda x: x[torch.tensor([True, False, True, False])]),
    "computed_host_index": (TO_DEVICE, lambda x: x[torch.arange(2) + 1]),
    "masked_fill_with_a_device_number": (READ, lambda x: x.masked_fill(x > 2, x[0])),
    "index_fill_with_a_device_number": (READ, lambda x: x.index_fill(0, torch.arange(2, device=x.device), x[0])),
    "fill_of_a_host_tensor": (READ, lambda x: torch.zeros(3).fill_(x[0])),
    "where_with_a_host_number": (TO_DEVICE, lambda x: torch.where(x > 2, x, torch.tensor(0.0))),
    "tensor_of_a_device_number": (READ, lambda x: torch.tensor([x[0], 2.0])),
    "like_it_on_the_host": (TO_DEVICE, lambda x: torch.zeros_like(x, device="cpu").to(x.device)),
    "type_as_a_host_tensor": (TO_HOST, lambda x: x.type_as(torch.zeros(1))),
    "host_tensor_type_as": (TO_DEVICE, lambda x: torch.zeros(2).type_as(x)),
    "type_of_the_host": (TO_HOST, lambda x: x.type(torch.DoubleTensor)),
    "new": (TO_DEVICE, lambda x: x.new([1.0, 2.0])),
    "not_blocking": (TO_DEVICE, lambda x: torch.arange(4).to(x.device, non_blocking=True)),
    "one_hot_of_unknown_width": (READ, lambda x: F.one_hot(x.long())),
    "histogram_of_unknown_range": (READ, lambda x: x.histc(4)),
    "linspace": (READ, lambda x: torch.linspace(x[0], 9.0, 4, device=x.device)),
    "normal": (READ, lambda x: torch.normal(x, x)),
    "isin_many": (SIZE, lambda x: torch.isin(x, torch.arange(100.0, device=x.device))),
    "unique_rows": (SIZE, lambda x: x.outer(x).unique(dim=0)),
    "segment_reduce": (READ, lambda x: torch.segment_reduce(x, "sum", lengths=x[:2].long().fill_(2))),
    "svd": (READ, lambda x: torch.linalg.svd(x.diag())),
    "eigh": (READ, lambda x: torch.linalg.eigh(x.diag())),
    "matrix_exp": (READ, lambda x: torch.linalg.matrix_exp(x.diag())),
    "pseudo_inverse": (READ, lambda x: torch.linalg.pinv(x.diag())),
    "ctc_loss": (READ, lambda x: F.ctc_loss(x.outer(x)[:, None], x[None, :2].long(), x[3:].long(), x[1:2].long())),
    "grouped_mm": (READ, lambda x: torch._grouped_mm(x.new_ones(4, 8), x.new_ones(2, 8, 8), offs=x[1::2].int())),
}


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_transfer_is_found_once_with_its_kind_line_and_module(name):
    kind, body = PLANTED[name]
    (found,) = transfers_of(body)
    assert found.kind is kind
    assert found.module == "inner"
    line = body.__code__.co_firstlineno
    assert found.source_line.startswith(f"torch_checks/test_host_transfers.py:{line}: ")
    assert f'"{name}"' in found.source_line


QUIET = {
    "arithmetic": lambda x: torch.softmax(x @ x.outer(x), -1),
    "factory_on_the_device": lambda x: x + torch.arange(4, device=x.device) + torch.zeros_like(x) + x.new_zeros(4),
    "to_its_own_device": lambda x: (x + 1).to(x.device).to("cuda"),
    "to_another_dtype": lambda x: x.to(torch.float16).float(),
    "masked_fill_by_index": lambda x: x.clone().index_put_((x > 2,), torch.zeros(())),
    "number_under_a_mask": lambda x: setitem(x, x > 2, 3.0),
    "number_into_a_slice": lambda x: setitem(x, slice(0, 2), 3.0),
    "device_number_into_one_place": lambda x: setitem(x, 0, x[1].clone()),
    "fill_with_a_device_number": lambda x: x.clone().fill_(x[0]),
    "masked_fill": lambda x: x.masked_fill(x > 2, 0.0),
    "where_of_three_arguments": lambda x: torch.where(x > 2, x, 0.0),
    "device_index": lambda x: x[torch.arange(2, device=x.device)],
    "shapes": lambda x: x.view(x.shape[0] // 2, -1) if x.dim() == 1 and len(x) == 4 else x,
    "empty_cache": lambda x: torch.cat([torch.tensor([], device=x.device), x]),
    "reading_a_host_tensor": lambda x: x * torch.tensor(3.0).item() if torch.ones(2).sum() > 1 else x,
    "scalar_of_the_host": lambda x: x * torch.tensor(3.0),
    "repeat_interleave_of_known_size": lambda x: x.repeat_interleave(x.long(), output_size=10),
    "one_hot_of_known_width": lambda x: F.one_hot(x.long(), 5),
    "quantile": lambda x: torch.quantile(x, x / 8),
    "histogram_of_integers": lambda x: x.int().histc(4, 0, 4),
    "segment_reduce_unsafe": lambda x: torch.segment_reduce(x, "sum", lengths=x[:2].long().fill_(2), unsafe=True),
    "linspace_of_numbers": lambda x: torch.linspace(0.0, 1.0, 4, device=x.device),
    "normal_of_one_deviation": lambda x: torch.normal(x, 1.0),
    "grouped_mm_in_bfloat16": lambda x: torch._grouped_mm(
        x.new_ones(4, 8).bfloat16(), x.new_ones(2, 8, 8).bfloat16(), offs=x[1::2].int()
    ),
    "isin_few": lambda x: torch.isin(x, x[:2]),
    "nothing_to_copy": lambda x: torch.zeros(0).to(x.device),
    "new_of_a_size": lambda x: x.new(3) + x.new(3),
    "packed_sequences": lambda x: torch.nn.utils.rnn.pack_padded_sequence(x.view(4, 1, 1), torch.tensor([3])),
    "asking_where_it_is": lambda x: x if x.is_cuda and not x.is_cpu and x.device.type == "cuda" else x.tolist(),
}


@pytest.mark.parametrize("name", QUIET)
def test_what_does_not_wait_is_not_reported(name):
    assert transfers_of(QUIET[name]) == ()


def test_a_transfer_in_a_loop_counts_each_time_in_order():
    def loop(x):
        for _ in range(3):
            x = x * x[0].item()
        return x.tolist()

    assert [transfer.kind for transfer in transfers_of(loop)] == [READ, READ, READ, TO_HOST]


def test_assigning_one_value_under_a_mask_does_not_wait_and_assigning_several_does():
    def one(x):
        x[x > 2] = 0.0
        return x

    def several(x):
        x[x > 2] = x[:2].clone()
        return x

    assert [transfer.kind for transfer in transfers_of(several)] == [SIZE]
    assert transfers_of(one) == ()


def test_what_was_copied_to_the_host_is_read_there_for_free():
    assert [transfer.kind for transfer in transfers_of(lambda x: x.cpu().tolist())] == [TO_HOST]


def test_the_original_of_a_copy_stays_on_the_device():
    def body(x):
        x.cpu()
        return x.tolist()

    assert [transfer.op for transfer in transfers_of(body)] == ["Tensor.cpu", "Tensor.tolist"]


def test_a_list_of_bools_is_copied_and_is_a_mask():
    assert [transfer.kind for transfer in transfers_of(lambda x: x[[True, False, True, False]])] == [TO_DEVICE, SIZE]


MIXED = {
    "add": lambda x: x + torch.ones(4),
    "add_what_was_computed": lambda x: x + torch.ones(2).repeat(2),
    "matmul": lambda x: x @ torch.ones(4),
    "cat": lambda x: torch.cat([x, torch.ones(1)]),
    "index_select": lambda x: x.index_select(0, torch.arange(2)),
    "embedding": lambda x: F.embedding(torch.arange(2), x.outer(x)),
    "out": lambda x: torch.add(x, x, out=torch.zeros(4)),
}


@pytest.mark.parametrize("name", MIXED)
def test_what_a_device_refuses_to_compute_with_a_host_tensor_is_an_error_with_its_line(name):
    with pytest.raises(ModelCaseError, match=r"would raise on a device: .* takes a tensor of the host") as error:
        transfers_of(MIXED[name])
    assert f"at torch_checks/test_host_transfers.py:{MIXED[name].__code__.co_firstlineno}: " in str(error.value)


def test_a_module_that_is_not_on_the_cpu_is_a_typed_error():
    with pytest.raises(ModelCaseError, match="the module or its inputs are on meta; they must be on the CPU"):
        host_transfers(torch.nn.Linear(4, 4, device="meta"), (torch.ones(4),))


def test_a_forward_that_raises_is_a_typed_error_and_leaves_no_hooks():
    module = Doing(lambda x: x.reshape(3))
    with pytest.raises(ModelCaseError, match="the forward raised RuntimeError"):
        host_transfers(module, (torch.ones(4),))
    assert not module.inner._forward_hooks
    assert not module.inner._forward_pre_hooks


@pytest.mark.parametrize("split", [torch.tensor_split, torch.Tensor.tensor_split])
def test_splitting_at_places_that_lie_on_the_device_would_raise_there(split):
    with pytest.raises(
        ModelCaseError, match=r"would raise on a device: .*tensor_split takes where to split from the host"
    ):
        transfers_of(lambda x: split(x, (x[:1] * 2).long())[0])
    assert len(transfers_of(lambda x: split(x, (x[:1] * 2).long().cpu())[0])) == 1
    assert transfers_of(lambda x: split(x, [1, 3])[0]) == ()
