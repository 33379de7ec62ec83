"""One Transpose slips into one layer of BERT-base, and the findings name that module and no other."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from examples.zoo.bert_base import BERT_BASE
from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.gates import registered_gates
from pytest_modelcheck.gates.evaluate import Declared, evaluate
from pytest_modelcheck.hierarchy import ModuleTable, render
from pytest_modelcheck.result import Finding
from pytest_modelcheck.snapshots.kinds import module_differences

LAYER = "encoder.layer.3.attention.self"


@pytest.fixture(scope="module")
def locked_and_changed() -> tuple[ModuleTable, ModelCheck]:
    """The module table of BERT-base at full size, and a check of the same model with the Transpose in it."""
    case = BERT_BASE.case("torchscript")
    before = ModelCheck(case)
    model, locked = before.torch.module, before.modules
    attention = model.get_submodule(LAYER)
    forward = attention.forward

    def turned(hidden_states: torch.Tensor, *args: object, **kwargs: object) -> object:
        return forward(hidden_states + 0.0 * hidden_states.transpose(1, 2).sum(), *args, **kwargs)

    attention.forward = turned  # type: ignore[method-assign]
    return locked, ModelCheck(dataclasses.replace(case, build=lambda: model))


def finding_of(check: ModelCheck, gate: str, **expected: object) -> Finding:
    entry = registered_gates()[gate]
    (result,) = evaluate(check, [Declared(entry, entry.expectation((), expected))])
    (finding,) = result.findings
    return finding


def test_the_finding_of_expect_ops_names_exactly_that_module(
    locked_and_changed: tuple[ModuleTable, ModelCheck],
) -> None:
    locked, changed = locked_and_changed
    changed.locked.text = {"modules": render(locked)}.get
    counted = sum(count for row in locked.rows for label, count in row.ops if label == "Transpose")
    finding = finding_of(changed, "expect_ops", stage="exported", Transpose=counted)
    assert finding.found == str(counted + 1)
    assert finding.where[0] == f"{LAYER}: +1 Transpose, against the snapshot"
    assert sum("against the snapshot" in line for line in finding.where) == 1


def test_the_snapshot_names_that_module_with_all_that_came_with_it(
    locked_and_changed: tuple[ModuleTable, ModelCheck],
) -> None:
    locked, changed = locked_and_changed
    (line,) = module_differences(render(locked), render(changed.modules))
    assert line.startswith(f"{LAYER}: ")
    assert "+1 Transpose" in line
