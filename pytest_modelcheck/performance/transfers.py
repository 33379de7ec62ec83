"""Where a forward pass waits for the device or copies across, found on a machine without one.

The module runs on the CPU, but its parameters, buffers and inputs, and all that is computed from them, count as being
on a device: `tensor.device` says ``cuda:0`` for them, factories that are given that device make tensors of it, and
``.to("cpu")`` takes them off it. What then reads a device tensor's content into Python, or moves a tensor across, is a
transfer. A read is seen at the operator that makes it (``aten._local_scalar_dense`` behind ``.item()``, ``bool(t)``,
``int(t)``, a slice bound), so that a read inside a library function is seen too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_modelcheck.calling import ModuleInputs, eval_mode
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.performance.memory import call_arguments, tensors_in
from pytest_modelcheck.performance.transfer_record import Transfer, TransferKind, TransferRecord

DEVICE = torch.device("cuda", 0)
"""Where device tensors say they are."""


def host_transfers(
    module: torch.nn.Module, inputs: ModuleInputs | Mapping[str, Any] | Sequence[Any]
) -> tuple[Transfer, ...]:
    """Every transfer of one forward pass in eval mode, in order; one in a loop counts each time.

    Args:
        module: On the CPU. It is run once, without gradients, and gets its training mode back.
        inputs: By keyword or in order; tensors count as being on the device.

    Raises:
        ModelCaseError: if the forward raises.
    """
    args, kwargs = call_arguments(inputs)
    record = TransferRecord()
    record.put_on_device([*module.parameters(), *module.buffers(), *tensors_in((args, kwargs))])
    with torch.no_grad(), eval_mode(module), torch.random.fork_rng(devices=[]), record.modules(module):
        try:
            with _Operators(record), _Calls(record):
                module(*args, **kwargs)
        except Exception as error:
            raise ModelCaseError(f"the forward raised {type(error).__name__}: {error}") from error
    return tuple(record.transfers)


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves __init_subclass__ untyped
    """Sees every operator: what it computes from device tensors is on the device, and some of them wait."""

    def __init__(self, record: TransferRecord) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._record = record

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        on_device = self._record.any_on_device((args, kwargs))
        if on_device and (kind := _waits(func, args, kwargs) or self._copies(func, args)):
            self._record.add(kind, str(func).rpartition(".")[0])
        result = func(*args, **kwargs)
        if on_device and not (func.overloadpacket is _aten.copy_ and self._record.on_host(args[0])):
            self._record.put_on_device(tensors_in(result))
        return result

    def _copies(self, func: Any, args: tuple[Any, ...]) -> TransferKind | None:
        """Whether an operator reads host and device tensors together in a way that copies."""
        packet, record = func.overloadpacket, self._record
        if packet is _aten.copy_ and record.on_host(args[0]):
            return TransferKind.TO_HOST
        if packet is _aten.copy_ and record.on_host(args[1]) and args[1].dim():
            return TransferKind.TO_DEVICE
        if packet in (_aten.index, _aten.index_put, _aten.index_put_) and any(map(record.on_host, args[1])):
            return TransferKind.TO_DEVICE
        return None


_aten = torch.ops.aten
_READS = {_aten._local_scalar_dense, _aten.equal, _aten.is_nonzero, _aten.allclose, _aten._linalg_check_errors}
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


def _waits(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TransferKind | None:
    """Whether an operator on device tensors waits for their content."""
    packet = func.overloadpacket
    if packet in _READS:
        return TransferKind.READ
    if packet in _SIZES:
        return TransferKind.SIZE
    if packet is _aten.repeat_interleave and func._overloadname == "Tensor" and kwargs.get("output_size") is None:
        return TransferKind.SIZE
    if packet is _aten.index and any(_is_mask(index) for index in args[1]):
        return TransferKind.SIZE
    if packet in (_aten.index_put, _aten.index_put_) and any(_is_mask(index) for index in args[1]):
        # One value for all of a mask's places is a masked_fill, which does not wait.
        return TransferKind.SIZE if args[2].numel() != 1 else None
    return None


def _is_mask(index: Any) -> bool:
    return isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)


class _Calls(TorchFunctionMode):
    """Sees every call from Python: lets device tensors say where they are, and sees what moves them."""

    def __init__(self, record: TransferRecord) -> None:
        super().__init__()
        self._record = record

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        record = self._record
        if func in _PLACES:
            return _PLACES[func] if record.on_device(args[0]) else func(*args)
        outer, record.call = record.call, record.call or _call_name(func)
        try:
            return self._called(func, args, dict(kwargs or {}))
        finally:
            record.call = outer

    def _called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        record = self._record
        if func in _MOVES:
            return self._move(func, args[0], args, kwargs)
        if func in _READERS and record.on_device(args[0]):
            return self._read_whole(func, args, kwargs)
        if func in _FROM_PYTHON:
            return self._from_python(func, args, kwargs)
        wanted = _is_device(kwargs.get("device"))
        if wanted:
            kwargs["device"] = "cpu"
        made_of_nothing = not tensors_in((args, kwargs))
        result = func(*args, **kwargs)
        if wanted:
            record.put_on_device(tensors_in(result))
        elif made_of_nothing:
            record.put_on_host(tensors_in(result))
        return result

    def _read_whole(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``.tolist()``, ``.numpy()``, printing: one copy, however many values are read on the way."""
        self._record.add(TransferKind.TO_HOST, "")
        was, self._record.paused = self._record.paused, True
        try:
            return func(*args, **kwargs)
        finally:
            self._record.paused = was

    def _move(self, func: Any, tensor: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        target = self._target(func, args, kwargs)
        args = tuple("cpu" if _is_place(arg) else arg for arg in args)
        if "device" in kwargs:
            kwargs["device"] = "cpu"
        if func is torch.Tensor.cuda:
            func, args, kwargs = torch.Tensor.to, (tensor, "cpu"), {}
        result = func(*args, **kwargs)
        was = self._record.on_device(tensor)
        if target is None or target == was:
            return result
        self._record.add(TransferKind.TO_DEVICE if target else TransferKind.TO_HOST, "")
        moved = result.clone()  # the original stays where it is
        (self._record.put_on_device if target else self._record.put_on_host)([moved])
        return moved

    def _target(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool | None:
        """Whether a call moves to the device (True), to the host (False), or nowhere (None)."""
        if func is torch.Tensor.cpu:
            return False
        if func is torch.Tensor.cuda:
            return True
        other = kwargs.get("other", next((arg for arg in args[1:] if isinstance(arg, torch.Tensor)), None))
        if other is not None:
            return self._record.on_device(other)
        places = [arg for arg in (*args[1:], kwargs.get("device")) if _is_place(arg)]
        return _is_device(places[0]) if places else None

    def _from_python(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``torch.tensor([1, 2], device=x.device)``: made on the host, then copied."""
        record, device = self._record, kwargs.get("device")
        is_new = func is torch.Tensor.new_tensor
        to_device = _is_device(device) if device is not None else is_new and record.on_device(args[0])
        data = args[1] if is_new and len(args) > 1 else args[0] if args and not is_new else kwargs.get("data")
        from_device = record.on_device(data)
        if device is not None:
            kwargs["device"] = "cpu"
        result = func(*args, **kwargs)
        if to_device and not from_device:
            if result.numel():  # no bytes, no copy: key/value caches begin with torch.tensor([], device=...)
                record.add(TransferKind.TO_DEVICE, "")
            result = result.clone()
        if device is None and from_device:
            return result
        if from_device and not to_device:
            record.add(TransferKind.TO_HOST, "")
            result = result.clone()
        (record.put_on_device if to_device else record.put_on_host)([result])
        return result


_PLACES: dict[Any, Any] = {
    torch.Tensor.device.__get__: DEVICE,
    torch.Tensor.is_cuda.__get__: True,  # type: ignore[attr-defined]
    torch.Tensor.is_cpu.__get__: False,  # type: ignore[attr-defined]
    torch.Tensor.get_device: 0,
}
_MOVES = {torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda}
_READERS = {
    torch.Tensor.tolist,
    torch.Tensor.numpy,
    torch.Tensor.__array__,
    torch.Tensor.__repr__,
    torch.Tensor.__format__,
}
_FROM_PYTHON = {torch.tensor, torch.as_tensor, torch.Tensor.new_tensor, torch.asarray}


def _call_name(func: Any) -> str:
    name = getattr(func, "__name__", str(func))
    return f"Tensor.{name}" if getattr(torch.Tensor, name, None) is func else f"torch.{name}"


def _is_place(value: Any) -> bool:
    """Whether an argument of ``Tensor.to`` names a device: ``"cuda"``, ``torch.device(...)``, an index."""
    return isinstance(value, torch.device | str) or (isinstance(value, int) and not isinstance(value, bool))


def _is_device(value: Any) -> bool:
    if isinstance(value, torch.device | str):
        return torch.device(value).type != "cpu"
    return isinstance(value, int) and not isinstance(value, bool)
