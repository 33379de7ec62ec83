"""What besides the model decides a result: this package's code, the libraries, the processor, the settings around."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
from pathlib import Path

from pytest_modelcheck.store.installed import content
from pytest_modelcheck.store.reached import EXPORTING

_PACKAGE = Path(__file__).resolve().parent.parent
_LIBRARIES = (*EXPORTING, "onnxruntime", "ml-dtypes")
_SETTINGS = (
    *("OMP_", "MKL_", "KMP_", "GOMP_", "OPENBLAS_", "OPENMP_", "ORT_", "ONNXRUNTIME_", "TORCH_", "PYTORCH_"),
    *("ATEN_", "DNNL_", "ONEDNN_", "MALLOC_"),
)
_SETTINGS_AT_START = {name: value for name, value in sorted(os.environ.items()) if name.startswith(_SETTINGS)}
"""Environment variables as they were before any model was built: libraries read theirs when they are loaded. A library
may set some later on (ultralytics: OMP_NUM_THREADS=1), and every result of the models before it would be lost."""


@functools.cache
def own_code(*rooms: str) -> str:
    """A digest of the source of these rooms and of all that they import of this package, so that no result of older
    code is taken for one of this code, and an edit elsewhere changes nothing.

    The store and the recorder are left out: they find results, they do not make them.
    """
    found: set[Path] = set()
    pending = [path for room in rooms for path in _files(room)]
    while pending:
        path = pending.pop()
        if path not in found and path.relative_to(_PACKAGE).parts[0] not in ("store", "recorder"):
            found.add(path)
            pending += [file for name in _imported(path) for file in _files(name)]
    content = [(path.relative_to(_PACKAGE).as_posix(), path.read_bytes()) for path in sorted(found)]
    return hashlib.sha256(repr(content).encode()).hexdigest()[:32]


_IMPORT = re.compile(r"^\s*from pytest_modelcheck\.?([\w.]*) import \(?([^)\n]*(?:\n[^)\n]*)*?)(?:\)|$)", re.MULTILINE)


@functools.cache
def _imported(path: Path) -> tuple[str, ...]:
    found = []
    for module, names in _IMPORT.findall(path.read_text(encoding="utf-8")):
        place = module.replace(".", "/")
        found += [place, *(f"{place}/{name}".strip("/") for name in re.findall(r"\w+", names))]
    return tuple(found)


def _files(name: str) -> list[Path]:
    """The files of a room (a folder: all of it) or of a module."""
    place = _PACKAGE / name
    if name and place.is_dir():
        return sorted(place.rglob("*.py")) if "/" not in name else [place / "__init__.py"]
    return [file for file in (place.with_suffix(".py"),) if name and file.is_file()]


def numeric_environment() -> dict[str, str]:
    """Everything outside the model that a floating-point result of it can depend on, by name."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
        **{f"version of {name}": content(name) for name in _LIBRARIES},
        **{f"environment variable {name}": value for name, value in _SETTINGS_AT_START.items()},
    }


@functools.cache
def _processor() -> str:
    """Model and instruction sets: kernels are chosen by them, and the order of additions with the kernel."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.node()
    values = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}
    return "; ".join(values[name] for name in ("model name", "flags", "Features", "CPU part") if name in values)
