"""Golden files: outputs that another framework, or another version, computed, and everything needed to trust them.

The container is an .npz, a zip of .npy arrays, that any numpy reads; nothing in it is pickled. Beside the arrays is
``header.json``: who computed them with which versions, the seeds, and the SHA-256 of every weight, input and output.
Two writes of the same content give the same bytes, so that a golden file can live in version control.

A reference that cannot tell right from wrong is refused when it is written and when it is read: NaN, all zero,
constant, rows that are all equal, the same for every seed.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pytest_modelcheck.accuracy import to_numpy
from pytest_modelcheck.calling.fingerprints import array_hash
from pytest_modelcheck.errors import ModelCheckError

Array = np.ndarray[Any, np.dtype[Any]]

FORMAT = "pytest-modelcheck golden"
FORMAT_VERSION = 1
_HEADER = "header.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time stamp of every member: the same content gives the same bytes."""


class GoldenError(ModelCheckError):
    """A golden file that cannot be read, or a reference that proves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """A golden reference.

    Attributes:
        producer: What computed the outputs, e.g. ``"numpy, float64"``.
        versions: Library -> version, of what took part.
        weights: Entry of the module's state -> SHA-256 (`fingerprints.array_hash`).
        inputs: Seed -> input name -> SHA-256.
        outputs: Seed -> output name -> array, of the dtype that the model gives.
        note: Where it comes from, in a sentence.
    """

    producer: str
    versions: Mapping[str, str]
    weights: Mapping[str, str]
    inputs: Mapping[int, Mapping[str, str]]
    outputs: Mapping[int, Mapping[str, Array]]
    note: str = ""

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its inputs."""
        return tuple(self.outputs)


def write_golden(
    path: str | Path,
    *,
    producer: str,
    versions: Mapping[str, str],
    weights: torch.nn.Module | Mapping[str, Any],
    inputs: Mapping[int, Mapping[str, Any]],
    outputs: Mapping[int, Mapping[str, Any]],
    note: str = "",
) -> Golden:
    """Write a golden file.

    Args:
        path: Ends in ``.npz``.
        producer, versions, note: See `Golden`.
        weights: The module whose state was used, or all entries of that state by name.
        inputs, outputs: seed -> name -> array or tensor. Outputs have the dtype that the model gives: round what was
            computed in float64 for a float32 model.

    Raises:
        GoldenError: if the reference proves nothing, inputs and outputs have different seeds, or `producer`, `versions`
            or `weights` are empty.
    """
    state = weights.state_dict() if isinstance(weights, torch.nn.Module) else weights
    golden = Golden(
        producer=producer,
        versions=dict(versions),
        weights={name: array_hash(_array(value)) for name, value in state.items() if _is_array(value)},
        inputs={
            int(seed): {name: array_hash(_array(v)) for name, v in named.items()} for seed, named in inputs.items()
        },
        outputs={int(seed): {name: _array(v) for name, v in named.items()} for seed, named in outputs.items()},
        note=note,
    )
    path = Path(path)
    _demand_useful(path, golden)
    path.write_bytes(_packed(golden))
    return golden


def read_golden(path: str | Path) -> Golden:
    """Read a golden file.

    Raises:
        GoldenError: naming the file and what is wrong: no file, damaged, of a newer format, changed after it was
            written, or a reference that proves nothing.
    """
    path = Path(path)
    members = _members(path)
    if _HEADER not in members:
        raise GoldenError(f"{path}: is not a golden file: it has no {_HEADER}")
    try:
        header = json.loads(members[_HEADER])
        if header["format"] != FORMAT:
            raise GoldenError(f"{path}: is not a golden file: its format is {header['format']!r}")
        if header["format_version"] > FORMAT_VERSION:
            raise GoldenError(
                f"{path}: has format version {header['format_version']}, this release reads up to {FORMAT_VERSION}"
            )
        golden = Golden(
            producer=header["producer"],
            versions=header["versions"],
            weights=header["weights"],
            inputs={int(seed): named for seed, named in header["inputs"].items()},
            outputs={
                int(seed): {name: _read_array(path, members, name, row) for name, row in named.items()}
                for seed, named in header["outputs"].items()
            },
            note=header["note"],
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise GoldenError(f"{path}: its {_HEADER} cannot be read: {type(error).__name__}: {error}") from error
    _demand_useful(path, golden)
    return golden


def useless(golden: Golden) -> Iterator[str]:
    """Why this reference cannot tell right from wrong; nothing where it can."""
    names = list(dict.fromkeys(name for named in golden.outputs.values() for name in named))
    if not names:
        yield "it holds no output"
    floats = [name for name in names if any(o[name].dtype.kind in "fc" for o in golden.outputs.values() if name in o)]
    names = floats or names  # a constant mask or index beside an output of numbers is nothing unusual
    for name in names:
        arrays = {seed: named[name] for seed, named in golden.outputs.items() if name in named}
        for seed, array in arrays.items():
            if reason := _useless_array(array):
                yield f"output {name!r} of seed {seed} {reason}"
        first = next(iter(arrays.values()))
        if len(arrays) > 1 and all(np.array_equal(first, array) for array in arrays.values()):
            yield f"output {name!r} is the same for all {len(arrays)} seeds"


def _useless_array(array: Array) -> str:
    if not array.size:
        return "has no elements"
    wide = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    if np.isnan(wide).any():
        return f"holds {int(np.isnan(wide).sum())} NaN in {array.size} elements"
    if not wide.any():
        return "is all zero"
    if array.size > 1 and bool(np.all(wide == wide.flat[0])):
        return f"is constant: all {array.size} elements are {wide.flat[0]:.6g}"
    if wide.ndim > 1:
        for axis, rows in (("first", wide.reshape(len(wide), -1)), ("last", wide.reshape(-1, wide.shape[-1]))):
            if len(rows) > 1 and bool(np.all(rows == rows[0])):
                return f"has {len(rows)} rows along its {axis} axis that are all equal"
    return ""


def _demand_useful(path: Path, golden: Golden) -> None:
    if not golden.producer or not golden.versions or not golden.weights:
        missing = [name for name in ("producer", "versions", "weights") if not getattr(golden, name)]
        raise GoldenError(f"{path}: a reference without {', '.join(missing)} cannot be trusted")
    if set(golden.inputs) != set(golden.outputs):
        raise GoldenError(f"{path}: inputs of seeds {sorted(golden.inputs)}, outputs of seeds {sorted(golden.outputs)}")
    if empty := [seed for seed, named in golden.inputs.items() if not named]:
        raise GoldenError(f"{path}: no input for seed {empty[0]}")
    if reasons := list(useless(golden)):
        raise GoldenError(f"{path}: the reference proves nothing: {'; '.join(reasons)}")


def _packed(golden: Golden) -> bytes:
    members: dict[str, bytes] = {}
    outputs: dict[str, dict[str, dict[str, str]]] = {}
    for seed, named in golden.outputs.items():
        rows = outputs.setdefault(str(seed), {})
        for index, (name, array) in enumerate(named.items()):
            member = f"outputs/{seed}/{index}"
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asarray(array, order="C"), allow_pickle=False)
            members[f"{member}.npy"] = buffer.getvalue()
            rows[name] = {"member": member, "sha256": array_hash(array)}
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "producer": golden.producer,
        "versions": dict(golden.versions),
        "note": golden.note,
        "weights": dict(golden.weights),
        "inputs": {str(seed): dict(named) for seed, named in golden.inputs.items()},
        "outputs": outputs,
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        text = json.dumps(header, indent=1).encode()
        for name, content in {_HEADER: text, **members}.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def _members(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {info.filename: archive.read(info) for info in archive.infolist()}
    except FileNotFoundError:
        raise GoldenError(f"{path}: there is no such file") from None
    except Exception as error:  # a damaged archive: zipfile raises whatever its fields lead to
        raise GoldenError(f"{path}: is damaged, or no .npz at all: {error}") from error


def _read_array(path: Path, members: Mapping[str, bytes], name: str, row: Mapping[str, str]) -> Array:
    member = f"{row['member']}.npy"
    if member not in members:
        raise GoldenError(f"{path}: output {name!r} is missing: there is no {member}")
    array: Array = np.lib.format.read_array(io.BytesIO(members[member]), allow_pickle=False)
    if array_hash(array) != row["sha256"]:
        raise GoldenError(f"{path}: output {name!r} was changed after the file was written")
    return array


def _is_array(value: Any) -> bool:
    return isinstance(value, torch.Tensor | np.ndarray | np.generic)


def _array(value: Any) -> Array:
    array = to_numpy(value) if isinstance(value, torch.Tensor) else np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise GoldenError(f"an array of dtype {array.dtype} cannot be kept in an .npz; cast it to float32")
    return array
