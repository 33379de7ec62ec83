"""Transfers planted one by one: each is found, with its line and module; what does not wait is not reported."""

import numpy as np
import pytest
import torch

from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.performance import TransferKind, host_transfers

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
}


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_transfer_is_found_once_with_its_kind_line_and_module(name):
    kind, body = PLANTED[name]
    (found,) = transfers_of(body)
    assert found.kind is kind
    assert found.module == "inner"
    line = body.__code__.co_firstlineno
    assert found.source_line.startswith(f"performance/test_host_transfers.py:{line}: ")
    assert f'"{name}"' in found.source_line


QUIET = {
    "arithmetic": lambda x: torch.softmax(x @ x.outer(x), -1),
    "factory_on_the_device": lambda x: x + torch.arange(4, device=x.device) + torch.zeros_like(x) + x.new_zeros(4),
    "to_its_own_device": lambda x: (x + 1).to(x.device).to("cuda"),
    "to_another_dtype": lambda x: x.to(torch.float16).float(),
    "masked_fill_by_index": lambda x: x.clone().index_put_((x > 2,), torch.zeros((), device=x.device)),
    "masked_fill": lambda x: x.masked_fill(x > 2, 0.0),
    "where_of_three_arguments": lambda x: torch.where(x > 2, x, 0.0),
    "device_index": lambda x: x[torch.arange(2, device=x.device)],
    "shapes": lambda x: x.view(x.shape[0] // 2, -1) if x.dim() == 1 and len(x) == 4 else x,
    "empty_cache": lambda x: torch.cat([torch.tensor([], device=x.device), x]),
    "reading_a_host_tensor": lambda x: x * torch.tensor(3.0).item() if torch.ones(2).sum() > 1 else x,
    "scalar_of_the_host": lambda x: x * torch.tensor(3.0),
    "repeat_interleave_of_known_size": lambda x: x.repeat_interleave(x.long(), output_size=10),
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


def test_a_forward_that_raises_is_a_typed_error_and_leaves_no_hooks():
    module = Doing(lambda x: x.reshape(3))
    with pytest.raises(ModelCaseError, match="the forward raised RuntimeError"):
        host_transfers(module, (torch.ones(4),))
    assert not module.inner._forward_hooks
    assert not module.inner._forward_pre_hooks
