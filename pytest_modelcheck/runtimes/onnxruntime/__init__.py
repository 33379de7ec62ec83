"""onnxruntime: the runtime that everything is compared in unless a marker says differently.

Nothing of it is imported before it is asked for something.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from pytest_modelcheck.runtimes.interface import How, NodeTime, Optimized, Quantizer, Runtime, Session
from pytest_modelcheck.runtimes.models import Model
from pytest_modelcheck.runtimes.ports import EXTENDED, STANDARD

MEMBERS = {
    "Level1_RuleBasedTransformer": (
        "EliminateIdentity",
        "EliminateSlice",
        "UnsqueezeElimination",
        "EliminateDropout",
        "ExpandElimination",
        "CastElimination",
        "CastChainElimination",
        "PreShapeNodeElimination",
        "NoopElimination",
        "DivMulFusion",
        "FuseReluClip",
        "GemmSumFusion",
        "GemmTransposeFusion",
        "NotWhereFusion",
        "ConvAddFusion",
        "ConvMulFusion",
        "ConvBNFusion",
        "Pad_Fusion",
        "MatmulBNFusion",
        "MatMulBNFusion",
        "LabelEncoderFusion",
    ),
    "Level2_RuleBasedTransformer": ("ClipQuantRewrite", "ReluQuantRewrite", "GemmTransposeFusion"),
}
"""onnxruntime's log names only the group of these rules (onnxruntime 1.20 to 1.31). A name that a release does not
have changes nothing there, so that it cannot be found guilty."""


def _open(model: Model, how: How, name: str) -> Session:
    from pytest_modelcheck.runtimes.onnxruntime.session import open_session

    return open_session(model, how, name)


def _providers() -> tuple[str, ...]:
    from pytest_modelcheck.runtimes.onnxruntime.session import providers

    return providers()


def _operators() -> dict[str, frozenset[str]]:
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    known: dict[str, set[str]] = defaultdict(set)
    for schema in get_all_operator_schema():
        known[schema.domain].add(schema.name)
    return {domain: frozenset(names) for domain, names in known.items()}


def _optimize(model: Path | onnx.ModelProto, how: How, level: str, weights: bool) -> Optimized:
    from pytest_modelcheck.runtimes.onnxruntime.optimizer import optimize

    return optimize(model, how, level, weights)


def _rewrites(model: ir.Model) -> tuple[str, ...]:
    from pytest_modelcheck.runtimes.onnxruntime.optimizer import rewrites

    return rewrites(model)


def _profile(path: Path, feeds: Mapping[str, Any], how: How, runs: int) -> tuple[NodeTime, ...]:
    from pytest_modelcheck.runtimes.onnxruntime.profile import profile

    return profile(path, feeds, how, runs)


def _executed(path: Path, how: How) -> dict[str, int]:
    graph = _optimize(path, how, RUNTIME.levels[-1], False).model.graph
    names = (f"{node.domain}:{node.op_type}" if node.domain else node.op_type for node in graph.node)
    return dict(Counter(names))


def _quantizer(name: str) -> Quantizer:
    def run(source: Path, target: Path, feeds: Sequence[Mapping[str, Any]]) -> None:
        from pytest_modelcheck.runtimes.onnxruntime import quantizers

        getattr(quantizers, name)(source, target, feeds)

    return run


RUNTIME = Runtime(
    name="onnxruntime",
    package="onnxruntime",
    install="pip install 'pytest-modelcheck[onnxruntime]'",
    open=_open,
    providers=_providers,
    dtypes=frozenset((*STANDARD, *EXTENDED)),
    domains=("com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"),
    operators=_operators,
    levels=("basic", "extended", "all"),
    optimize=_optimize,
    rewrites=_rewrites,
    members=MEMBERS,
    profile=_profile,
    executed=_executed,
    quantizers={name: _quantizer(name) for name in ("dynamic", "static", "float16")},
)
