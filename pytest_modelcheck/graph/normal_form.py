"""What old files say differently: brought to one form, so that no pass has to know it.

1. IR versions below 4 want every initializer among the graph's inputs too, where from version 4 on it is a default that
   the caller may override. onnxruntime takes both as constants below version 4. The version becomes 4, and such inputs
   go: the inputs left are those that a caller has to give.
2. A negative size (``dim_value: -1``, as older Paddle2ONNX and mxnet write) means that the size is unknown.
3. A function may import another version of the standard domain than the model, as long as its operators are the same
   in both (onnx.checker holds that). It imports the model's then.

Source: https://github.com/onnx/onnx/blob/main/docs/IR.md, "Graphs" and "Functions".
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from pytest_modelcheck.graph.scopes import all_scopes

_FREE_INITIALIZERS = 4
"""From this IR version on an initializer need not be an input."""


def bring_to_normal_form(model: ir.Model) -> None:
    """Apply the three rules to `model`, which has passed the checker, in place."""
    if model.ir_version is not None and model.ir_version < _FREE_INITIALIZERS:
        model.ir_version = _FREE_INITIALIZERS
        for value in [value for value in model.graph.inputs if value.is_initializer()]:
            model.graph.inputs.remove(value)
    for value in _values(model):
        if value.shape is not None and any(isinstance(dim, int) and dim < 0 for dim in value.shape):
            value.shape = ir.Shape([None if isinstance(dim, int) and dim < 0 else dim for dim in value.shape])
    for function in model.functions.values():
        if "" in function.opset_imports and "" in model.opset_imports:
            function.opset_imports[""] = model.opset_imports[""]


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for scope in all_scopes(model):
        yield from scope.inputs
        for node in scope:
            yield from node.outputs
