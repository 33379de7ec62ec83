"""Where a forward pass waits for the device or copies across, found on a machine without one.

The module runs on the CPU, but its parameters, buffers and inputs, and all that is computed from them, count as being
on a device: `tensor.device` says ``cuda:0`` for them, factories that are given that device make tensors of it, and
``.to("cpu")`` takes them off it. What then reads a device tensor's content into Python, or moves a tensor across, is a
transfer. A read is seen at the operator that makes it (``aten._local_scalar_dense`` behind ``.item()``, ``bool(t)``,
``int(t)``, a slice bound), so that a read inside a library function is seen too; `waiting` knows the operators whose
kernel for CUDA reads. A copy counts with ``non_blocking=True``, too.

What is found is where CUDA's sync debug mode warns (``tests/torch_checks/test_on_a_cuda_device.py``; torch 2.11, H100),
with each call counted once: `repeat_interleave` waits twice there, printing a tensor 17 times. Not found: the fast path
of `torch.nn.TransformerEncoder` for padded rows, which torch leaves out under a mode; nested tensors; `torch.cov`;
`torch.mode` of thousands of values. Sparse tensors, and code that asks `torch.cuda` what the device can, are an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from pytest_modelcheck.calling import ModuleInputs, WatchingMode, eval_mode
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.torch_checks.memory.forward import call_arguments, tensors_in
from pytest_modelcheck.torch_checks.transfers.record import Transfer, TransferKind, TransferRecord, source_line
from pytest_modelcheck.torch_checks.transfers.sync_ops import cannot_mix, transfers_in

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
        ModelCaseError: if the forward raises, or would on a device because it computes with tensors of both sides; if
            the module is not on the CPU.
    """
    args, kwargs = call_arguments(inputs)
    record = TransferRecord()
    tensors = [*module.parameters(), *module.buffers(), *tensors_in((args, kwargs))]
    if elsewhere := {str(tensor.device) for tensor in tensors if tensor.device.type != "cpu"}:
        raise ModelCaseError(f"the module or its inputs are on {', '.join(sorted(elsewhere))}; they must be on the CPU")
    record.put_on_device(tensors)
    with torch.no_grad(), eval_mode(module), torch.random.fork_rng(devices=[]), record.modules(module):
        try:
            with _Operators(record), _Calls(record):
                module(*args, **kwargs)
        except ModelCaseError:
            raise
        except Exception as error:  # whatever a user's forward raises becomes the error of the case
            raise ModelCaseError(f"the forward raised {type(error).__name__}: {error}") from error
    return tuple(record.transfers)


class _Operators(WatchingMode):
    """Sees every operator: what it computes from device tensors is on the device, and some of them wait."""

    def __init__(self, record: TransferRecord) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._record = record

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, record = kwargs or {}, self._record
        on_device = record.any_on_device((args, kwargs))
        if on_device:
            self._refuse_a_mix(func, args, kwargs)
            for kind in transfers_in(func, args, kwargs, record):
                record.add(kind, str(func).rpartition(".")[0])
        result = _run(func, args, kwargs)
        if on_device:
            self._place(func, args, result)
        elif record.any_on_host((args, kwargs)):
            record.put_on_host(tensors_in(result))
        elif func.overloadpacket is _aten.lift_fresh and record.indexing:
            self._from_an_index(result)
        return result

    def _from_an_index(self, made: torch.Tensor) -> None:
        """``x[[0, 2]]``: the list becomes a tensor on the device; ``x[0] = 3.0``: the number one on the host."""
        if made.dim() and made.numel():
            self._record.add(TransferKind.TO_DEVICE, "")
        (self._record.put_on_device if made.dim() else self._record.put_on_host)([made])

    def _place(self, func: Any, args: tuple[Any, ...], result: Any) -> None:
        """What was computed from device tensors is on the device, with few exceptions."""
        if func.overloadpacket in (_aten.copy_, _aten.fill_) and self._record.on_host(args[0]):
            return
        self._record.put_on_device(tensors_in(result))
        if func.overloadpacket is _aten._pack_padded_sequence:
            self._record.put_on_host(result[1:])  # the sizes of the batches

    def _refuse_a_mix(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not cannot_mix(func):
            return
        for tensor in tensors_in((args, kwargs)):
            if self._record.on_host(tensor) and tensor.dim() and tensor.numel():
                raise ModelCaseError(
                    f"the forward would raise on a device: {self._record.call or func} takes a tensor of the host, "
                    f"{tensor.dtype}{list(tensor.shape)}, together with one on the device, at {source_line()}"
                )


_aten = torch.ops.aten


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call an operator; one that the CPU has for floating point only, and CUDA for integers too, is called so."""
    try:
        return func(*args, **kwargs)
    except NotImplementedError:
        if func.overloadpacket is not _aten.histc:
            raise
        return func(args[0].double(), *args[1:], **kwargs).to(args[0].dtype)


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
        outer = record.call, record.indexing
        record.call = record.call or _call_name(func)
        record.indexing = func in _INDEXING and record.on_device(args[0])
        try:
            return self._called(func, args, dict(kwargs or {}))
        finally:
            record.call, record.indexing = outer

    def _called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        record = self._record
        if func is torch.Tensor.type and len(args) > 1 and not isinstance(args[1], torch.dtype):
            func, args = torch.Tensor.to, (args[0], *_of_legacy_type(args[1]))
        if func in _MOVES:
            return self._move(func, args[0], args, kwargs)
        if func in _READERS and record.on_device(args[0]):
            return self._read_whole(func, args, kwargs)
        if func in _FROM_PYTHON:
            return self._from_python(func, args, kwargs)
        if func in _CHECKED_ON_THE_CPU and record.on_device(args[0]):
            if func is torch.nn.functional.one_hot and (*args[1:], kwargs.get("num_classes", -1))[0] == -1:
                record.add(TransferKind.READ, "")
            return self._unrecorded(func, args, kwargs)
        if func in _INDICES_ON_THE_HOST and any(map(record.on_device, tensors_in((args[1:], kwargs)))):
            raise ModelCaseError(
                f"the forward would raise on a device: {_call_name(func)} takes where to split from the host only, "
                f"at {source_line()}; call .cpu() there, which is a transfer, or use Python numbers"
            )
        wanted = _is_device(kwargs.get("device"))
        host = not wanted and (kwargs.get("device") is not None or not tensors_in((args, kwargs)))
        if wanted:
            kwargs["device"] = "cpu"
        result = func(*args, **kwargs)
        if wanted:
            record.put_on_device(tensors_in(result))
        elif host:
            record.put_on_host(tensors_in(result))
        return result

    def _read_whole(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """``.tolist()``, ``.numpy()``, printing: one copy, however many values are read on the way."""
        self._record.add(TransferKind.TO_HOST, "")
        return self._unrecorded(func, args, kwargs)

    def _unrecorded(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
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
        if tensor.numel():  # no bytes, no copy
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
        is_new = func in (torch.Tensor.new_tensor, torch.Tensor.new)
        to_device = _is_device(device) if device is not None else is_new and record.on_device(args[0])
        data = args[1] if is_new and len(args) > 1 else args[0] if args and not is_new else kwargs.get("data")
        from_device = record.on_device(data)
        if device is not None:
            kwargs["device"] = "cpu"
        if not isinstance(data, torch.Tensor):
            for _ in filter(record.on_device, tensors_in(data)):
                record.add(TransferKind.READ, "")
        result = func(*args, **kwargs)
        if to_device and not from_device:
            sized = func is torch.Tensor.new and isinstance(data, int | torch.Size)
            if result.numel() and not sized:  # no bytes, no copy: caches begin with torch.tensor([], device=...)
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
_MOVES = {torch.Tensor.to, torch.Tensor.type_as, torch.Tensor.cpu, torch.Tensor.cuda}
_READERS = {
    torch.Tensor.tolist,
    torch.Tensor.numpy,
    torch.Tensor.__array__,
    torch.Tensor.__repr__,
    torch.Tensor.__format__,
}
_FROM_PYTHON = {torch.tensor, torch.as_tensor, torch.Tensor.new_tensor, torch.Tensor.new, torch.asarray}
_INDICES_ON_THE_HOST = {torch.tensor_split, torch.Tensor.tensor_split}
_INDEXING = {torch.Tensor.__getitem__, torch.Tensor.__setitem__}
# They look at the values to check them on the CPU, and leave that out on a device, "to avoid synchronizing".
_CHECKED_ON_THE_CPU = {
    torch.nn.functional.one_hot,
    torch.quantile,
    torch.Tensor.quantile,
    torch.nanquantile,
    torch.Tensor.nanquantile,
}


def _call_name(func: Any) -> str:
    name = getattr(func, "__name__", str(func))
    return f"Tensor.{name}" if getattr(torch.Tensor, name, None) is func else f"torch.{name}"


def _of_legacy_type(kind: Any) -> tuple[str, torch.dtype]:
    """``torch.FloatTensor``, ``"torch.cuda.FloatTensor"`` -> where it is, and its dtype."""
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__name__}"
    return "cuda" if ".cuda." in name else "cpu", getattr(torch, name.rpartition(".")[2]).dtype


def _is_place(value: Any) -> bool:
    """Whether an argument of ``Tensor.to`` names a device: ``"cuda"``, ``torch.device(...)``, an index."""
    return isinstance(value, torch.device | str) or (isinstance(value, int) and not isinstance(value, bool))


def _is_device(value: Any) -> bool:
    if isinstance(value, torch.device | str):
        return torch.device(value).type != "cpu"
    return isinstance(value, int) and not isinstance(value, bool)
