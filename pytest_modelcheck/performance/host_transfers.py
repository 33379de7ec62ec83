"""Where a forward pass waits for the device or copies across, found on a machine without one.

The module runs on the CPU, but its parameters, buffers and inputs, and all that is computed from them, count as being
on a device: `tensor.device` says ``cuda:0`` for them, factories that are given that device make tensors of it, and
``.to("cpu")`` takes them off it. What then reads a device tensor's content into Python, or moves a tensor across, is a
transfer. A read is seen at the operator that makes it (``aten._local_scalar_dense`` behind ``.item()``, ``bool(t)``,
``int(t)``, a slice bound), so that a read inside a library function is seen too.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pytest_modelcheck.calling import ModuleInputs, eval_mode
from pytest_modelcheck.errors import ModelCaseError
from pytest_modelcheck.performance.memory import call_arguments, storage_ref, tensors_in

DEVICE = torch.device("cuda", 0)
"""Where device tensors say they are."""


class TransferKind(StrEnum):
    """`READ`: Python waits for a value. `SIZE`: an operator whose result's size depends on values waits for them.
    `TO_HOST`, `TO_DEVICE`: a copy across."""

    READ = "read"
    SIZE = "size"
    TO_HOST = "to host"
    TO_DEVICE = "to device"


@dataclass(frozen=True, slots=True)
class Transfer:
    """One synchronising read or copy.

    Attributes:
        kind: See `TransferKind`.
        op: What did it, as it was called from Python where it was: ``"Tensor.__bool__"``, ``"torch.nonzero"``.
        source_line: ``"transformers/masking_utils.py:123: if padding_mask.all():"``: the innermost line outside torch.
        module: Path of the module whose forward was running; ``""`` for the root.
    """

    kind: TransferKind
    op: str
    source_line: str
    module: str


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
    record = _Record()
    record.put_on_device([*module.parameters(), *module.buffers(), *tensors_in((args, kwargs))])
    with torch.no_grad(), eval_mode(module), torch.random.fork_rng(devices=[]), record.modules(module):
        try:
            with _Operators(record), _Calls(record):
                module(*args, **kwargs)
        except Exception as error:
            raise ModelCaseError(f"the forward raised {type(error).__name__}: {error}") from error
    return tuple(record.transfers)


class _Record:
    """Which tensors are on the device, which module is running, and the transfers so far."""

    def __init__(self) -> None:
        self.transfers: list[Transfer] = []
        self.call = ""  # the torch function that Python code is calling
        self.paused = False
        self._stack = [""]
        self._on_host: dict[int, Any] = {}
        # A weak reference keeps the address of a storage from being used again: an address names one storage.
        self._on_device: dict[int, Any] = {}

    def put_on_device(self, tensors: Sequence[torch.Tensor]) -> None:
        for ref in map(storage_ref, tensors):
            self._on_device[ref.cdata] = ref
            self._on_host.pop(ref.cdata, None)

    def put_on_host(self, tensors: Sequence[torch.Tensor]) -> None:
        for ref in map(storage_ref, tensors):
            self._on_device.pop(ref.cdata, None)
            self._on_host[ref.cdata] = ref

    def on_device(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and storage_ref(value).cdata in self._on_device

    def on_host(self, value: Any) -> bool:
        """Whether a tensor is known to be on the host; one that a library function made inside is on neither side."""
        return isinstance(value, torch.Tensor) and storage_ref(value).cdata in self._on_host

    def any_on_device(self, tree: Any) -> bool:
        return any(self.on_device(tensor) for tensor in tensors_in(tree))

    def add(self, kind: TransferKind, op: str) -> None:
        if not self.paused:
            self.transfers.append(Transfer(kind, self.call or op, _source_line(), self._stack[-1]))

    @contextmanager
    def modules(self, root: torch.nn.Module) -> Iterator[None]:
        """Follow which module's forward is running."""
        with ExitStack() as hooks:
            for path, module in root.named_modules():
                hooks.callback(module.register_forward_pre_hook(self._entering(path)).remove)
                hooks.callback(module.register_forward_hook(self._leaving, always_call=True).remove)
            yield

    def _entering(self, path: str) -> Callable[..., None]:
        def enter(module: torch.nn.Module, args: Any) -> None:
            self._stack.append(path)

        return enter

    def _leaving(self, module: torch.nn.Module, args: Any, result: Any) -> None:
        self._stack.pop()


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves __init_subclass__ untyped
    """Sees every operator: what it computes from device tensors is on the device, and some of them wait."""

    def __init__(self, record: _Record) -> None:
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

    def __init__(self, record: _Record) -> None:
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


_TORCH = os.path.dirname(torch.__file__) + os.sep


def _source_line() -> str:
    """The innermost line outside torch and this file."""
    frame = sys._getframe(1)
    while frame is not None and (frame.f_code.co_filename == __file__ or frame.f_code.co_filename.startswith(_TORCH)):
        if frame.f_back is None:
            return ""
        frame = frame.f_back
    path = PurePath(frame.f_code.co_filename)
    text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
    return f"{'/'.join(path.parts[-2:])}:{frame.f_lineno}: {text}"
