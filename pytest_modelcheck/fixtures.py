"""The fixtures: each takes a request and hands out one part of the library's result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.session import session_of

if TYPE_CHECKING:
    from pytest_modelcheck.attribution import Attribution
    from pytest_modelcheck.check import ModelCheck
    from pytest_modelcheck.export import Exported
    from pytest_modelcheck.fusion import FusionReport
    from pytest_modelcheck.hierarchy import HierarchyReport
    from pytest_modelcheck.snapshots.assertion import ModelCheckSnapshot

T = TypeVar("T")


@pytest.fixture
def model_case() -> ModelCase:
    """The model under test: override this fixture, or parametrize a test over it."""
    raise pytest.UsageError(
        "modelcheck does not know which model to check: define a fixture `model_case` that returns a ModelCase, "
        'or add @pytest.mark.parametrize("model_case", [...])'
    )


@pytest.fixture
def modelcheck(request: pytest.FixtureRequest, model_case: ModelCase) -> ModelCheck:
    """Everything about the model case, computed on first use and shared by the tests of that case."""
    return session_of(request.config).check_for(request.node, model_case)


def _part(get: Callable[[], T]) -> T:
    """A result, or the failure of the test that asks for it: the finding, without a traceback through our code."""
    try:
        return get()
    except ModelCheckError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def exported(modelcheck: ModelCheck) -> Exported:
    """The ONNX model as the exporter made it."""
    return _part(lambda: modelcheck.exported)


@pytest.fixture
def optimized(modelcheck: ModelCheck) -> Any:
    """The `onnx_ir.Model` after the pipeline."""
    return _part(lambda: modelcheck.optimized)


@pytest.fixture
def attribution(modelcheck: ModelCheck) -> Attribution:
    """What each pass did."""
    return _part(lambda: modelcheck.attribution)


@pytest.fixture
def hierarchy_report(modelcheck: ModelCheck) -> HierarchyReport:
    """Which module owns each node of the exported graph."""
    return _part(lambda: modelcheck.hierarchy)


@pytest.fixture
def fusion_report(modelcheck: ModelCheck) -> FusionReport:
    """The captured torch graph, partitioned into fused subgraphs."""
    return _part(lambda: modelcheck.fusion)


@pytest.fixture
def modelcheck_snapshot(request: pytest.FixtureRequest, modelcheck: ModelCheck, snapshot: Any) -> ModelCheckSnapshot:
    """Compares a result with its recorded snapshot; ``--snapshot-update`` records it again."""
    return session_of(request.config).snapshot_for(request.node, modelcheck, snapshot)
