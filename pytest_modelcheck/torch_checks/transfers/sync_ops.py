"""Which operators make host and device wait for each other, or copy, beyond what their name says.

Read from torch's kernels for CUDA, and held against CUDA's own sync debug mode (torch 2.11, H100) in
``tests/torch_checks/test_on_a_cuda_device.py``. Many of these reads lie inside a kernel of CUDA and nowhere else: the
CPU computes the same operator without asking for a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pytest_modelcheck.torch_checks.transfers.record import TransferKind, TransferRecord

_aten = torch.ops.aten

_READS = {
    _aten._local_scalar_dense,
    _aten.equal,
    _aten.is_nonzero,
    _aten.allclose,
    # Whether it converged, whether a matrix was singular:
    _aten._linalg_check_errors,
    _aten._linalg_eigh,
    _aten._linalg_svd,
    _aten.linalg_eig,
    _aten.linalg_lstsq,
    _aten.linalg_pinv,
    _aten.linalg_matrix_exp,
    # Lengths of the sequences:
    _aten._ctc_loss,
}
_SIZES = {
    _aten.nonzero,
    _aten.masked_select,
    _aten._unique,
    _aten._unique2,
    _aten.unique_dim,
    _aten.unique_consecutive,
    _aten.unique_dim_consecutive,
    _aten.bincount,
}


def transfers_in(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], record: TransferRecord
) -> list[TransferKind]:
    """The reads and copies of one call of an ATen operator, of whose arguments some tensor is on the device."""
    packet = func.overloadpacket
    if packet in _READS:
        return [TransferKind.READ]
    if packet in _SIZES:
        return [TransferKind.SIZE]
    rule = _RULES.get(packet)
    return rule(_Call(func._overloadname, args, kwargs, record)) if rule else []


@dataclass(frozen=True, slots=True)
class _Call:
    overload: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    record: TransferRecord

    def argument(self, position: int, name: str, default: Any) -> Any:
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


def _repeat_interleave(call: _Call) -> list[TransferKind]:
    known = call.overload != "Tensor" or call.kwargs.get("output_size") is not None
    return [] if known else [TransferKind.SIZE]


def _index(call: _Call) -> list[TransferKind]:
    """``x[...]``: a mask on the device has a size that is not known; an index on the host is copied."""
    on_host, indices = call.record.on_host, call.args[1]
    waits = [TransferKind.SIZE] if any(_is_mask(index) and not on_host(index) for index in indices) else []
    return waits + [TransferKind.TO_DEVICE] * sum(map(on_host, indices))


def _index_put(call: _Call) -> list[TransferKind]:
    """``x[...] = value``; one value of the host for all places of one mask is a masked_fill, which does not wait."""
    indices, value = [index for index in call.args[1] if index is not None], call.args[2]
    one_mask = len(indices) == 1 and _is_mask(indices[0])
    one_value = value.numel() == 1 and not call.record.on_device(value)
    if one_mask and one_value and not call.argument(3, "accumulate", False):
        return []
    return _index(call) + [TransferKind.TO_DEVICE] * call.record.on_host(value)


def _copy(call: _Call) -> list[TransferKind]:
    into, source = call.args[:2]
    if call.record.on_host(into):
        return [TransferKind.TO_HOST]
    return [TransferKind.TO_DEVICE] if call.record.on_host(source) and source.numel() else []


def _fill(call: _Call) -> list[TransferKind]:
    """``x.fill_(value)``: on the device it copies, and takes a value of the host with it; only a host `x` reads it."""
    return [TransferKind.READ] if call.record.on_host(call.args[0]) else []


def _fill_places(call: _Call) -> list[TransferKind]:
    """``x.masked_fill(mask, value)``: the kernel takes a number, for which a tensor on the device is read."""
    return [TransferKind.READ] if call.record.on_device(call.args[-1]) else []


def _where(call: _Call) -> list[TransferKind]:
    return [TransferKind.TO_DEVICE for arg in call.args if call.record.on_host(arg) and arg.dim() == 0]


def _spaced(call: _Call) -> list[TransferKind]:
    """``torch.linspace(x[0], x[1], 5)``"""
    return [TransferKind.READ for bound in call.args[:2] if call.record.on_device(bound)]


def _normal(call: _Call) -> list[TransferKind]:
    """No standard deviation may be negative."""
    return [TransferKind.READ] if call.overload.endswith("_Tensor") else []


def _histc(call: _Call) -> list[TransferKind]:
    """Without a range it is that of the values."""
    return [TransferKind.READ] if call.argument(2, "min", 0) == call.argument(3, "max", 0) else []


def _isin(call: _Call) -> list[TransferKind]:
    """Beyond so many values torch sorts them, each once."""
    if call.overload != "Tensor_Tensor" or call.kwargs.get("assume_unique"):
        return []
    few = call.args[1].numel() < 10 * call.args[0].numel() ** 0.145
    return [] if few else [TransferKind.SIZE]


def _segment_reduce(call: _Call) -> list[TransferKind]:
    """The lengths must add up."""
    checked = call.kwargs.get("lengths") is not None and not call.kwargs.get("unsafe", False)
    return [TransferKind.READ] if checked else []


def _grouped_mm(call: _Call) -> list[TransferKind]:
    """One kernel takes all groups in bfloat16; in other types the host goes through the groups."""
    grouped = call.argument(2, "offs", None) is not None
    return [TransferKind.READ] if grouped and call.args[0].dtype is not torch.bfloat16 else []


_RULES: dict[Any, Callable[[_Call], list[TransferKind]]] = {
    _aten.repeat_interleave: _repeat_interleave,
    _aten.index: _index,
    _aten.index_put: _index_put,
    _aten.index_put_: _index_put,
    _aten.copy_: _copy,
    _aten.fill_: _fill,
    _aten.masked_fill: _fill_places,
    _aten.masked_fill_: _fill_places,
    _aten.index_fill: _fill_places,
    _aten.index_fill_: _fill_places,
    _aten.where: _where,
    _aten.linspace: _spaced,
    _aten.logspace: _spaced,
    _aten.normal: _normal,
    _aten.histc: _histc,
    _aten.isin: _isin,
    _aten.segment_reduce: _segment_reduce,
    _aten._grouped_mm: _grouped_mm,
}


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)


_ONE_PLACE = {
    _aten.mm,
    _aten.bmm,
    _aten.mv,
    _aten.dot,
    _aten.addmm,
    _aten.baddbmm,
    _aten.cat,
    _aten.gather,
    _aten.index_select,
    _aten.embedding,
}


def cannot_mix(func: Any) -> bool:
    """Whether an operator raises on CUDA where one tensor is there and another, with a dimension, on the host."""
    return func.overloadpacket in _ONE_PLACE or (torch.Tag.pointwise in func.tags and func.overloadpacket not in _RULES)
