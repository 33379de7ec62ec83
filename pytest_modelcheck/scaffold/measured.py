"""The markers that hold for a model today, each with what was measured beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from pytest_modelcheck.check import ModelCheck
from pytest_modelcheck.gates import registered_gates
from pytest_modelcheck.gates.evaluate import declare, evaluate
from pytest_modelcheck.model_case import Exporter
from pytest_modelcheck.result import Finding, FindingError
from pytest_modelcheck.scaffold.target import Target, TargetError

SEEDS = 20


@dataclass(slots=True)
class Measured:
    """What was found out about a model.

    Attributes:
        exporter: The one that exports it.
        markers: Lines of a test file: markers, and above each a comment with the figure behind it.
        left_out: Gates that do not hold today, as findings: no marker is written for them.
        notes: One sentence each.
    """

    exporter: Exporter
    markers: list[str] = field(default_factory=list)
    left_out: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def measure(target: Target, progress: Callable[[str], None] = lambda text: None) -> Measured:
    """Export the model, by the legacy exporter where the default one fails, and measure it.

    Args:
        target: The model.
        progress: Called with what is being done.

    Raises:
        TargetError: with the findings, if neither exporter can export it.
    """
    errors: list[str] = []
    for exporter in ("dynamo", "torchscript"):
        check = ModelCheck(target.case(exporter), progress=progress)
        try:
            check.exported  # noqa: B018 - raises where there is no export
        except FindingError as error:
            errors.append(str(error))
            if target.file:
                break
            continue
        made = Measured(exporter)
        if errors:
            made.notes.append(f"dynamo cannot export it, torchscript can: {errors[0].splitlines()[0]}")
        _graph(check, made)
        _accuracy(check, made)
        return made
    raise TargetError("\n\n".join(errors))


def _graph(check: ModelCheck, made: Measured) -> None:
    attribution = check.attribution
    before, after = attribution.nodes_before, attribution.nodes_after
    if before and after < before:
        share = math.floor(100 * (before - after) / before)
        made.markers += [f"# nodes {before} -> {after}", f'@pytest.mark.expect_reduction(total=">={share}%")']
    if check.source.torch is None:
        return
    coverage = check.hierarchy.coverage
    made.markers += [
        f"# {100 * coverage:.1f} % of the nodes have a known module",
        f'@pytest.mark.expect_hierarchy(coverage=">={math.floor(95 * coverage)}%")',
    ]
    try:
        fusion = check.fusion
    except FindingError as error:
        made.left_out.append(error.finding)
        return
    if layers := fusion.attention_layers:
        made.markers += [f"# attention layers: {layers}", f'@pytest.mark.expect_fusion(qkv="{fusion.qkv}/{layers}")']


def _accuracy(check: ModelCheck, made: Measured) -> None:
    entry = declare("expect_accuracy", (), {"seeds": SEEDS}, registered_gates())
    assert entry is not None
    (result,) = evaluate(check, (entry,))
    if result.findings:
        made.left_out += result.findings
        return
    figures = check.summary([result.figures])
    made.markers += [
        f"# largest difference: {figures['accuracy']['text']}",
        f"@pytest.mark.expect_accuracy(seeds={SEEDS})",
    ]
