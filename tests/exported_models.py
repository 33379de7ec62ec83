"""Small models of `structure_models` by both exporters, each exported once per process: dynamo takes seconds.

Files that share them run in one worker (`tests/conftest.py`). Nobody writes beside the files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.hierarchy import HierarchyReport, hierarchy
from pytest_modelcheck.model_case import EXPORTERS, Exporter, ModelCase
from tests.structure_models import albert_case, bert_case, cross_case, resnet_case, swin_case

CASES: dict[str, Callable[[Exporter], ModelCase]] = {
    "bert": bert_case,
    "albert": albert_case,
    "resnet": resnet_case,
    "cross": cross_case,
}
EVERY_EXPORT = [(name, exporter) for name in CASES for exporter in EXPORTERS]
_OF_ONE_FILE: dict[str, Callable[[Exporter], ModelCase]] = {"swin": swin_case}


@cache
def exported(name: str, exporter: Exporter) -> Exported:
    """The export of a model; `Exported.model` is a new object on every access."""
    made = export((CASES | _OF_ONE_FILE)[name](exporter))
    assert isinstance(made, Exported), made.render()
    return made


@cache
def report(name: str, exporter: Exporter) -> HierarchyReport:
    """Who owns each node of the export of a model."""
    return hierarchy(exported(name, exporter))
