"""onnx's own reference evaluator: a slow second opinion that shares no code with any runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import onnx
import onnx_ir as ir

from pytest_modelcheck.runtimes.interface import How, Runtime, Session
from pytest_modelcheck.runtimes.models import Model, graph_of, inlined, loading
from pytest_modelcheck.runtimes.ports import EXTENDED, STANDARD, Array, signature_of

_LABEL = "onnx's reference evaluator"


def _open(model: Model, how: How, name: str) -> Session:
    from onnx.reference import ReferenceEvaluator

    with loading(name, _LABEL):
        loaded = graph_of(model, name)
        evaluator = ReferenceEvaluator(model if isinstance(model, onnx.ModelProto) else ir.to_proto(inlined(loaded)))
    return Session(signature=signature_of(loaded, name), how=how, start=partial(_start, evaluator), label=_LABEL)


def _start(evaluator: Any, arrays: Mapping[str, Array]) -> Callable[[], Sequence[Any]]:
    return partial(evaluator.run, None, dict(arrays))


RUNTIME = Runtime(
    name="reference",
    package="onnx",
    install="pip install onnx",
    open=_open,
    label=_LABEL,
    dtypes=frozenset((*STANDARD, *EXTENDED)),
)
