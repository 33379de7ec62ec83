"""The sizes that dynamic axes are frozen to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.passes import Target
from pytest_modelcheck.passes.freeze_dynamic_shapes import FreezeDynamicShapes
from pytest_modelcheck.pipeline.pass_names import AnyPass
from pytest_modelcheck.result import close_match


def freezing(
    passes: Sequence[AnyPass], sizes: Mapping[str, int], target: Target, model: ir.Model
) -> tuple[AnyPass, ...]:
    """`passes` behind one that freezes the axes of the inputs.

    Raises:
        OptionError: for a name that no axis has, a size below 1, or, but for ``tflite``, an axis without a size.
    """
    axes = [
        (value.name, dim.value)
        for value in model.graph.inputs
        for dim in value.shape or ()
        if isinstance(dim, ir.SymbolicDim)
    ]
    names = list(dict.fromkeys(name for _, name in axes if name))
    for name, size in sizes.items():
        if name not in names:
            raise OptionError(
                f"no input has an axis {name!r}{close_match(name, names)}; there are {', '.join(names) or 'none'}"
            )
        if size < 1:
            raise OptionError(f"size {size} of axis {name!r} must be at least 1")
    if target != "tflite" and (
        left := [f"{name or 'an unnamed axis'} of {value}" for value, name in axes if name not in sizes]
    ):
        raise OptionError(f"no size is given for {', '.join(dict.fromkeys(left))}: sizes freeze every axis or none")
    freeze = FreezeDynamicShapes(sizes=tuple(sorted(sizes.items())), default=1 if target == "tflite" else None)
    return (freeze, *(pass_ for pass_ in passes if getattr(pass_, "name", "") != freeze.name))
