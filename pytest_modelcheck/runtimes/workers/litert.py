"""LiteRT behind onnx2tf, for `serve.py`.

onnx2tf's direct writer needs no TensorFlow. Inputs keep the axis order of the graph: it would move channels last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_UNKNOWN = "ONNX_"
"""How the names of the custom operators begin that onnx2tf writes for what it does not convert; capitals follow."""


class UnknownOperatorsError(Exception):
    """Operators that onnx2tf does not convert."""

    def __init__(self, operators: Sequence[str]) -> None:
        super().__init__(f"onnx2tf does not convert {', '.join(operators)}")
        self.operators = operators


class Model:
    """The model that was loaded."""

    def load(self, model: str, inputs: Sequence[str], outputs: Sequence[str], threads: int) -> dict[str, Any]:
        import onnx2tf
        from ai_edge_litert.interpreter import Interpreter as LiteRT

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

    def feed(self, arrays: Mapping[str, Any]) -> None:
        for name, array in arrays.items():
            if entry := self.taken.get(name):  # an input that no node reads is gone
                self.litert.set_tensor(entry["index"], array.astype(entry["dtype"]))
        self.litert.reset_all_variables()  # a recurrent layer begins where the last run left its state

    def invoke(self) -> None:
        self.litert.invoke()

    def results(self) -> list[Any]:
        return [self.litert.get_tensor(entry["index"]) for entry in self.given]
