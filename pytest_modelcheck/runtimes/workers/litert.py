"""LiteRT behind onnx2tf, as a worker: see `runtimes/worker.py`. Its interpreter has neither torch nor this package.

onnx2tf's direct writer needs no TensorFlow. Inputs keep the axis order of the graph: it would move channels last.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what the converter and its native code print is no answer

import numpy as np  # noqa: E402 - imports may print, too

_UNKNOWN = "ONNX_"
"""How the names of the custom operators begin that onnx2tf writes for what it does not convert; capitals follow."""


class UnknownOperatorsError(Exception):
    """Operators that onnx2tf does not convert."""


class Interpreter:
    """The model that was loaded."""

    def load(self, model: str, inputs: Sequence[str], outputs: Sequence[str], threads: int) -> dict[str, Any]:
        import onnx2tf
        from ai_edge_litert.interpreter import Interpreter as LiteRT

        with contextlib.redirect_stdout(sys.stderr):
            onnx2tf.convert(
                input_onnx_file_path=model,
                output_folder_path="converted",
                non_verbose=True,
                keep_shape_absolutely_input_names=inputs,
            )
        (path,) = Path("converted").glob("*_float32.tflite")
        self.litert = LiteRT(str(path), num_threads=threads)
        unknown = {op["op_name"] for op in self.litert._get_ops_details() if op["op_name"].startswith(_UNKNOWN)}
        if unknown:
            raise UnknownOperatorsError(sorted(name.removeprefix(_UNKNOWN) for name in unknown))
        self.litert.allocate_tensors()
        taken = {entry["name"]: entry for entry in self.litert.get_input_details()}
        given = {entry["name"]: entry for entry in self.litert.get_output_details()}
        if lost := [name for name in outputs if name not in given]:
            raise ValueError(f"the converter gave no output {', '.join(lost)}; it gave {', '.join(given)}")
        self.taken, self.given = taken, [given[name] for name in outputs]
        return {"bytes": path.stat().st_size}

    def run(self, feeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        with open("feeds", "rb") as file:
            for feed in feeds:
                dtype = np.dtype(feed["dtype"])
                array = np.frombuffer(file.read(math.prod(feed["shape"]) * dtype.itemsize), dtype)
                if entry := self.taken.get(feed["name"]):  # an input that no node reads is gone
                    self.litert.set_tensor(entry["index"], array.reshape(feed["shape"]).astype(entry["dtype"]))
        self.litert.reset_all_variables()  # a recurrent layer begins where the last run left its state
        self.litert.invoke()
        arrays = [self.litert.get_tensor(entry["index"]) for entry in self.given]
        with open("results", "wb") as file:
            for array in arrays:
                file.write(np.ascontiguousarray(array).tobytes())
        return {"results": [{"dtype": array.dtype.name, "shape": array.shape} for array in arrays]}


def answer(interpreter: Interpreter, request: dict[str, Any]) -> dict[str, Any]:
    """One request, one answer; whatever the converter raises is its reason."""
    do = request.pop("do")
    try:
        return interpreter.load(**request) if do == "load" else interpreter.run(**request)
    except UnknownOperatorsError as error:
        return {"error": f"onnx2tf does not convert {', '.join(error.args[0])}", "operators": error.args[0]}
    except (Exception, SystemExit) as error:  # onnx2tf ends the process where it gives up
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    loaded = Interpreter()
    for line in sys.stdin:
        print(json.dumps(answer(loaded, json.loads(line))), file=ANSWERS, flush=True)
