"""The worst input of a failed sweep, kept in a file, so that one command shows the difference again.

A replay file is a numpy archive: the inputs, the reference's outputs, and what to run. The candidate is an .onnx file
beside it; both are one entry of the store.
"""

from __future__ import annotations

import dataclasses
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from pytest_modelcheck.accuracy.comparison import Comparison, compare_within
from pytest_modelcheck.accuracy.metrics import Array
from pytest_modelcheck.accuracy.stages import feeds_for
from pytest_modelcheck.accuracy.tolerance import Tolerances
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.graph.files import save_model
from pytest_modelcheck.runtimes import How, open_session, runtime_named


class ReplayError(ModelCheckError):
    """A replay file that cannot be read, or whose model is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a replay file says to do.

    Attributes:
        model: Name of the model case.
        reference, candidate: Stage names.
        path: The candidate's .onnx file; in a replay file relative to it.
        how: How it is run.
        seed, variant: What the inputs are.
        tolerances: How closely the outputs must agree.
        versions: Library -> version of the run that failed.
    """

    model: str
    reference: str
    candidate: str
    path: str
    how: How
    seed: int
    variant: str
    tolerances: Tolerances
    versions: Mapping[str, str]

    @property
    def context(self) -> str:
        label = f" ({self.variant})" if self.variant else ""
        return f"{self.candidate} against {self.reference}, seed {self.seed}{label}"


def versions(runtime: str = "onnxruntime") -> dict[str, str]:
    """Library -> installed version."""
    return {**{name: metadata.version(name) for name in ("torch", "onnx")}, runtime: runtime_named(runtime).version()}


def save_replay(
    file: Path, replay: Replay, inputs: Mapping[str, Array], reference: Mapping[str, Array], model: ir.Model | None
) -> Path:
    """Write a replay file. `model` is written to ``replay.path``, beside it, unless it is None."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if model is not None:
        save_model(model, file.parent / replay.path)
    dtypes: dict[str, str] = {}
    arrays: dict[str, Array] = {}
    for role, named in (("input", inputs), ("reference", reference)):
        for name, array in named.items():
            key = f"{role}/{name}"
            dtypes[key] = array.dtype.name
            arrays[key] = _plain(array)
    # The archive's own names would be read as paths inside it: numbered instead.
    keys = list(arrays)
    header = json.dumps({"replay": asdict(replay), "keys": keys, "dtypes": dtypes})
    numbered = {f"array_{index}": arrays[key] for index, key in enumerate(keys)}
    np.savez(file, header=np.array(header), **numbered)  # type: ignore[arg-type]  # numpy's stub mixes in allow_pickle
    return file


def run_replay(file: str | Path, *, atol: float | None = None, rtol: float | None = None) -> tuple[Replay, Comparison]:
    """Run a replay file: the candidate on the kept inputs, against the reference's kept outputs.

    Args:
        file: The file.
        atol, rtol: Tolerances instead of the kept ones.

    Raises:
        ReplayError: if the file cannot be read, or its model is gone.
        OptionError: for a tolerance that could never fail, or never pass.
        SessionError, FeedError: if the candidate cannot be run.
    """
    replay, stored = read_replay(file)
    kept = replay.tolerances
    asked = dataclasses.replace(
        kept, atol=kept.atol if atol is None else atol, rtol=kept.rtol if rtol is None else rtol
    )
    replay = dataclasses.replace(replay, tolerances=asked)
    session = open_session(replay.path, replay.how, name=replay.candidate)
    outputs = session.run(feeds_for(session, _of_role(stored, "input")))
    comparison = compare_within(
        _of_role(stored, "reference"),
        outputs,
        replay.tolerances.at(_of_role(stored, "input")),
        model=replay.model,
        context=replay.context,
    )
    return replay, comparison


def read_replay(file: str | Path) -> tuple[Replay, dict[str, Array]]:
    """What a replay file says to do, with the path of its model, and its arrays: ``"input/x"``, ``"reference/y"``.

    Raises:
        ReplayError: if the file cannot be read, or its model is gone.
    """
    try:
        with np.load(file, allow_pickle=False) as archive:
            header = json.loads(str(archive["header"]))
            stored = {
                key: _original(archive[f"array_{index}"], header["dtypes"][key])
                for index, key in enumerate(header["keys"])
            }
        kept = header["replay"]
        how = How(**{name: _as_tuples(value) for name, value in kept["how"].items()})
        path = str(Path(file).parent / kept["path"])
        replay = Replay(**{**kept, "path": path, "how": how, "tolerances": Tolerances(**kept["tolerances"])})
    except FileNotFoundError:
        raise ReplayError(f"{file}: no such file") from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ReplayError(f"{file}: is not a replay file: {error}") from error
    if not Path(replay.path).is_file():
        raise ReplayError(f"{file}: its model {replay.path} is gone: run the test again")
    return replay, stored


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def replay_lines(replay: Replay, comparison: Comparison) -> list[str]:
    """The comparison as text: one block of figures per output."""
    now = versions(replay.how.runtime)
    changed = [f"{name} {was}, now {now.get(name)}" for name, was in replay.versions.items() if now.get(name) != was]
    lines = [f"{replay.model}: {replay.context}"]
    lines += [f"recorded with {'; '.join(changed)}"] if changed else []
    for output in comparison.outputs:
        metrics = output.metrics
        lines += [
            f"output {output.name!r} {output.dtype}{list(output.shape)}: {output.status}",
            f"  |difference|  max {metrics.max_abs:.4g}  mean {metrics.mean_abs:.4g}  p99 {metrics.p99_abs:.4g}",
            f"  relative      max {metrics.max_rel:.4g}  mean {metrics.mean_rel:.4g}  p99 {metrics.p99_rel:.4g}",
            f"  cosine {metrics.cosine:.9f}  SNR {metrics.snr_db:.1f} dB  "
            f"over tolerance {100 * metrics.over_share:.3g} %  top-1 agreement {100 * output.top1:.4g} %",
        ]
        lines += [f"  {output.tolerance.describe(output.magnitude)}"] if output.tolerance else []
        lines += [f"  {output.detail}"] if output.detail else []
    return lines


def replay_figures(replay: Replay, comparison: Comparison) -> dict[str, Any]:
    """The same as plain data."""
    outputs = [
        {
            "name": output.name,
            "status": str(output.status),
            "max_abs": _number(output.max_abs),
            "scaled": _number(output.scaled),
            "cosine": _number(output.metrics.cosine),
            "snr_db": _number(output.metrics.snr_db),
        }
        for output in comparison.outputs
    ]
    return {"replay": asdict(replay), "passed": comparison.passed, "outputs": outputs}


def _number(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def _of_role(stored: Mapping[str, Array], role: str) -> dict[str, Array]:
    return {key.partition("/")[2]: array for key, array in stored.items() if key.startswith(f"{role}/")}


def _plain(array: Array) -> Array:
    """An array that numpy can write without pickling: other types as their bytes, strings as fixed-width text."""
    if array.dtype.kind == "O":
        return array.astype(str)
    return array if array.dtype.kind in "biufcUS" else np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def _original(array: Array, name: str) -> Array:
    if array.dtype.kind == "U":
        return array.astype(object)
    return array if array.dtype.name == name else array.view(_dtype(name))


def _dtype(name: str) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype
