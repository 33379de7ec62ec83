"""One random graph through the verified pipeline: no wrong rewrite, the same numbers, nothing left for a second run."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import onnx
import onnx_ir as ir

from pytest_modelcheck.errors import OptionError, PassFailedError
from pytest_modelcheck.graph.counts import count_nodes
from pytest_modelcheck.graph.value_infos import to_proto
from pytest_modelcheck.passes import Target, passes_for
from pytest_modelcheck.pipeline import run_pipeline
from pytest_modelcheck.pipeline.verified import run_verified
from tests.passes.fusing_checks import in_function
from tests.passes.random_programs import Array, Steps, draw_program, feeds_of, session_of
from tests.passes.random_steps import STEPS
from tests.passes.rule_cases import PLACES

TARGETS = [target for target in get_args(Target) if target != "tflite"]
INSIDE: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "main graph": lambda model: model,
    **PLACES,
    "function": in_function,
}


def check_seed(seed: int, steps: Steps = STEPS) -> str:
    """Draw the graph of `seed`, put it into one of `INSIDE`, and run the pipeline of one target over it twice.

    Returns:
        Where and for which target; empty where the seed draws no graph that onnxruntime runs.

    Raises:
        AssertionError: saying what is wrong; the seed repeats it.
    """
    model = draw_program(seed, steps)
    if model is None:
        return ""
    draw = random.Random(seed)
    place, target = draw.choice(["main graph", *INSIDE]), draw.choice(TARGETS)
    try:
        onnx.checker.check_model(model, full_check=True)
        model = INSIDE[place](model)
        session = session_of(model)
    except Exception:  # what is valid is onnx's to say, and what runs is onnxruntime's
        return ""
    at = f"seed {seed} in {place}, target {target}"
    try:
        once, _, wrong = run_verified(ir.from_proto(model), passes_for(target), target)
    except OptionError:  # integers that the inputs drawn there divide by are 0
        return ""
    except PassFailedError as error:
        raise AssertionError(f"{at}: {error}") from error
    assert not wrong, f"{at}: {wrong[0]}"
    after = to_proto(once)
    if target != "onnxruntime":
        onnx.checker.check_model(after, full_check=True)
    assert [value.name for value in after.graph.output] == [value.name for value in model.graph.output], at
    optimized = session_of(after)
    for feeds in feeds_of(model, seed):
        try:
            expected, again = session.run(None, feeds), session.run(None, feeds)
        except Exception:  # not every graph takes all sizes
            continue
        if not all(map(agree, expected, again)):  # Concat of an empty part reads memory that nobody wrote (1.31)
            continue
        for value, left, right in zip(model.graph.output, expected, optimized.run(None, feeds), strict=True):
            assert agree(left, right), f"{at}: {value.name} differs: {left!r} became {right!r}"
    twice, _ = run_pipeline(once, None, target)
    assert count_nodes(twice) == count_nodes(once), f"{at}: a second run finds {count_nodes(once)} nodes to be too many"
    return f"{place} {target}"


def agree(left: Array, right: Array) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype.kind != "f":
        return bool((left == right).all())
    wide: tuple[Any, Any] = (left.astype(np.float64), right.astype(np.float64))
    finite = np.abs(wide[0][np.isfinite(wide[0])])
    scale = max(1.0, float(finite.max(initial=0)))
    tolerance = 2e-2 if left.dtype == np.float16 else 2e-3
    return bool(np.allclose(*wide, rtol=0, atol=tolerance * scale, equal_nan=True))
