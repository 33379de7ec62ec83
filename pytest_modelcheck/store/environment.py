"""What besides the model decides a result: this package's code, the libraries, the processor, the settings around."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
_LIBRARIES = ("torch", "numpy", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "ml_dtypes")
_SETTINGS = (
    "OMP_",
    "MKL_",
    "KMP_",
    "GOMP_",
    "OPENBLAS_",
    "ORT_",
    "ONNXRUNTIME_",
    "TORCH_",
    "PYTORCH_",
    "ATEN_",
    "DNNL_",
)


_SETTINGS_AT_START = {name: value for name, value in sorted(os.environ.items()) if name.startswith(_SETTINGS)}
"""Environment variables as they were before any model was built: libraries read theirs when they are loaded. A library
may set some later on (ultralytics: OMP_NUM_THREADS=1), and every result of the models before it would be lost."""


@functools.cache
def own_code() -> str:
    """A digest of every source file of this package: a result of older code is never taken for one of this code."""
    digest = hashlib.sha256()
    for file in sorted(_PACKAGE.rglob("*.py")):
        digest.update(f"{file.relative_to(_PACKAGE)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:32]


def numeric_environment() -> dict[str, str]:
    """Everything outside the model that a floating-point result of it can depend on, by name."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        **{f"version of {name}": _version(name) for name in _LIBRARIES},
        **{f"environment variable {name}": value for name, value in _SETTINGS_AT_START.items()},
    }


@functools.cache
def _processor() -> str:
    """Model and instruction sets: kernels are chosen by them, and the order of additions with the kernel."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.node()
    return "; ".join(_first_values(text.splitlines(), ("model name", "flags", "Features", "CPU part")))


def _first_values(lines: Iterable[str], names: tuple[str, ...]) -> list[str]:
    values: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        values.setdefault(name.strip(), value.strip())
    return [values[name] for name in names if name in values]


@functools.cache
def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
