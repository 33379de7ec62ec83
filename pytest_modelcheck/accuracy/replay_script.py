"""A replay file as a folder that needs no pytest-modelcheck: the model, the arrays, and a script that compares."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from pytest_modelcheck.accuracy.replay import ReplayError, read_replay
from pytest_modelcheck.graph.files import save_model

_SCRIPT = '''\
"""{title}: onnxruntime runs model.onnx on the inputs of arrays.npz; the outputs differ from the reference's.

Recorded with {versions}. Needs numpy and onnxruntime.
"""

from pathlib import Path

import numpy as np
import onnxruntime

INPUTS = {inputs!r}
OUTPUTS = {outputs!r}

here = Path(__file__).parent
arrays = np.load(here / "arrays.npz")
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = {threads}
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.{level}
session = onnxruntime.InferenceSession(str(here / "model.onnx"), options, providers=["{provider}ExecutionProvider"])
taken = {{port.name for port in session.get_inputs()}}
feeds = {{name: arrays[key] for name, key in INPUTS.items() if name in taken}}
print("onnxruntime", onnxruntime.__version__)
for (name, key), found in zip(OUTPUTS.items(), session.run(list(OUTPUTS), feeds), strict=True):
    expected = arrays[key]
    line = f"{{name}} {{found.dtype}}{{list(found.shape)}}"
    if found.shape != expected.shape:
        print(f"{{line}}: shape differs, expected {{list(expected.shape)}}")
    else:
        difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
        print(f"{{line}}: max |difference| {{difference.max(initial=0):.4g}}, "
              f"max |expected| {{np.abs(expected.astype(np.float64)).max(initial=0):.4g}}")
'''


def write_script(file: Path, folder: Path) -> Path:
    """Write ``model.onnx``, ``arrays.npz`` and ``compare.py``; returns the script.

    Args:
        file: A replay file, see `replay`.
        folder: Where they go; made where it is not there.

    Raises:
        ReplayError: if the file cannot be read, was run by another runtime, or holds arrays that numpy and onnxruntime
            alone cannot exchange (bfloat16, text).
        OSError: if the folder cannot be written.
    """
    replay, stored = read_replay(file)
    if replay.how.runtime != "onnxruntime" or replay.how.custom_ops or replay.how.left_out:
        raise ReplayError(f"{file}: ran in {replay.how.runtime} under settings that a script of its own does not have")
    names: dict[str, dict[str, str]] = {"input": {}, "reference": {}}
    arrays = {}
    for number, (key, array) in enumerate(stored.items()):
        role, _, name = key.partition("/")
        if array.dtype.kind not in "biufc":
            raise ReplayError(f"{file}: {role} {name!r} is {array.dtype.name}, which numpy alone does not have")
        names[role][name] = f"array_{number}"
        arrays[f"array_{number}"] = array
    folder.mkdir(parents=True, exist_ok=True)
    save_model(ir.load(replay.path), folder / "model.onnx")
    np.savez(folder / "arrays.npz", **arrays)  # type: ignore[arg-type]  # numpy's stub mixes in allow_pickle
    script = folder / "compare.py"
    text = _SCRIPT.format(
        title=f"{replay.candidate} against {replay.reference}",
        versions=", ".join(f"{name} {version}" for name, version in replay.versions.items()),
        inputs=names["input"],
        outputs=names["reference"],
        threads=replay.how.threads,
        level="ORT_ENABLE_ALL" if replay.how.optimizer else "ORT_DISABLE_ALL",
        provider=replay.how.provider,
    )
    script.write_text(text, encoding="utf-8")
    return script
