"""The kinds of results that can be locked, each with its counting rule, its text and its differences."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_modelcheck.attribution import Attribution
from pytest_modelcheck.fusion import FusionReport, fusion_text
from pytest_modelcheck.graph.wiring import graph_digest
from pytest_modelcheck.hierarchy import ModuleTable, changed_modules, diff_tables, parse, render, without_values
from pytest_modelcheck.interface import Interface, interface_differences, interface_text, judge_interface
from pytest_modelcheck.latency.baseline import BaselineGraph, render_baseline
from pytest_modelcheck.numbers import Numbers, Weights, weights
from pytest_modelcheck.numbers import text as numbers_text
from pytest_modelcheck.numbers.judging import judge as judge_numbers
from pytest_modelcheck.result import Change
from pytest_modelcheck.snapshots import attribution_text
from pytest_modelcheck.snapshots.blocks import block_differences
from pytest_modelcheck.snapshots.text import SnapshotText, differences_found


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotKind:
    """How one type of result is locked.

    Attributes:
        name: Part of the file name.
        type: The result's type.
        rule: The counting rule, one line of the header.
        render: Result -> canonical rows: no floats, no run-dependent names.
        differences: (recorded body, today's body) -> one line per difference.
        judge: (recorded body, today's result) -> what changed; for results with a tolerance. None: the rows must be
            equal.
        format: Version of the rows; raised when they say more than before. Recorded rows of an earlier one fail until
            ``--snapshot-update`` upgrades them.
        former: (recorded body of an earlier format, today's result) -> what differs in the terms of that format; None
            where the two cannot be compared.
        compared: Whether another result is a failure. If not, the recorded one is kept until ``--snapshot-update``.
        means: What a difference says, and what usually causes it, for ``python -m pytest_modelcheck explain``.
        drawn: (recorded body, today's result) -> what the HTML report draws of a difference.
        unrelated: Libraries that have no part in the result: a step of one is never its reason.
        optimized: Result -> digest of the optimized graph, for the header of a kind that has one.
    """

    name: str
    type: type
    rule: str
    render: Callable[[Any], str]
    differences: Callable[[str, str], tuple[str, ...]]
    judge: Callable[[str, Any], Change] | None = None
    format: int = 1
    former: Callable[[str, Any], tuple[str, ...]] | None = None
    compared: bool = True
    means: str = ""
    drawn: Callable[[str, Any], list[dict[str, Any]]] | None = None
    unrelated: tuple[str, ...] = ()
    optimized: Callable[[Any], str] | None = None

    def change(self, recorded: SnapshotText, result: object) -> Change | None:
        """What changed since `recorded` was written; None where the rows themselves are to be compared."""
        if recorded.format < self.format:
            return self._since_former(recorded, result)
        return None if self.judge is None else self.judge(recorded.body, result)

    def _since_former(self, recorded: SnapshotText, result: object) -> Change:
        words = f"rows of format {recorded.format}, which an earlier version recorded"
        if self.former is None:
            return Change(found=f"{words}: they cannot be compared with format {self.format}", stale=True)
        lines = self.former(recorded.body, result)
        count = differences_found(lines) or "no difference"
        return Change(found=f"{words}: {count} in their terms", where=lines, stale=True)


def module_differences(recorded: str, now: str) -> tuple[str, ...]:
    """What each module gained or lost; the plain rows where the recorded text is not a module table."""
    try:
        before = parse(recorded)
    except ValueError as error:
        return (f"the recorded text is not a module table: {error}", *block_differences(recorded, now))
    return diff_tables(before, parse(now))


def _judge_modules(recorded: str, now: ModuleTable) -> Change:
    return _change(module_differences(recorded, render(now)))


def _drawn_modules(recorded: str, now: ModuleTable) -> list[dict[str, Any]]:
    try:
        before = parse(recorded)
    except ValueError:  # the finding says that it is not a module table
        return []
    return changed_modules(before, now)


def _former_modules(recorded: str, now: ModuleTable) -> tuple[str, ...]:
    return module_differences(recorded, render(without_values(now)))


def _change(lines: tuple[str, ...]) -> Change:
    return Change(found=differences_found(lines), where=lines)


_RUNTIME = ("onnxruntime",)
"""What has no part in an export."""

_EXPORTING = (*_RUNTIME, "onnx", "onnx_ir", "onnxscript")
"""What has no part in a torch graph or a forward."""

KINDS: tuple[SnapshotKind, ...] = (
    SnapshotKind(
        name="interface",
        type=Interface,
        means="Inputs, outputs, opsets or files of the export: whoever runs it reads them. A library's step renames "
        "or reorders them; so does a changed forward() or dynamic_axes.",
        rule="what the export promises to whoever runs it; bytes of initializers within 5 %, int64 (shapes) left out",
        render=interface_text,
        differences=interface_differences,
        judge=judge_interface,
        unrelated=_RUNTIME,
    ),
    SnapshotKind(
        name="attribution",
        type=Attribution,
        means="What a pass removes, or why it refuses. A pass that no longer fires was met by another form of the "
        "exported graph: the line says which, and `modules` where.",
        rule=attribution_text.RULE,
        render=attribution_text.render,
        differences=attribution_text.differences,
        judge=attribution_text.judge,
        optimized=lambda attribution: graph_digest(attribution.optimized),
    ),
    SnapshotKind(
        name="modules",
        type=ModuleTable,
        means="Operators that a module exports. The line names the module and the operators gained and lost: a "
        "changed module, or an exporter that decomposes it differently.",
        rule="nodes that each module owns in the exported graph, Constant nodes left out; #1= is a constant at input 1,"
        " ~ the sketch of a table, - no node",
        render=render,
        differences=module_differences,
        judge=_judge_modules,
        drawn=_drawn_modules,
        format=2,
        former=_former_modules,
        unrelated=_RUNTIME,
    ),
    SnapshotKind(
        name="fusion",
        type=FusionReport,
        means="The torch graph, before any export. It changes when the model's code does, or transformers'.",
        rule="compute nodes of the torch graph, attention written out; equal layers are written once, with their count",
        render=fusion_text,
        differences=block_differences,
        format=2,
        unrelated=_EXPORTING,
    ),
    SnapshotKind(
        name="numbers",
        type=Numbers,
        means="What the module computes under weights drawn by name: a changed function, whatever the checkpoint. "
        "The line names the first module whose output differs.",
        rule=numbers_text.RULE,
        render=numbers_text.render,
        differences=block_differences,
        judge=judge_numbers,
        unrelated=_EXPORTING,
    ),
    SnapshotKind(
        name="weights",
        type=Weights,
        means="The checkpoint. A retrained model changes it; so does another dtype or a layer that is not loaded.",
        rule=weights.RULE,
        render=weights.render,
        differences=block_differences,
        judge=weights.judge,
        unrelated=_EXPORTING,
    ),
    SnapshotKind(
        name="baseline",
        type=BaselineGraph,
        means="The optimized graph that expect_latency times today's graph beside. It is never compared.",
        rule="the optimized graph without its weights, to be timed against later ones; never compared",
        render=render_baseline,
        differences=block_differences,
        compared=False,
    ),
)


def kinds_at(places: Sequence[str]) -> tuple[SnapshotKind, ...]:
    """The kinds at ``module:attribute``, as gates name them."""
    found = (place.partition(":") for place in places)
    return tuple(getattr(importlib.import_module(module), attribute) for module, _, attribute in found)


def kind_of(result: object, kinds: Sequence[SnapshotKind] = KINDS) -> SnapshotKind:
    """The kind of a result.

    Raises:
        TypeError: naming what can be locked.
    """
    for kind in kinds:
        if isinstance(result, kind.type):
            return kind
    lockable = ", ".join(f"{kind.type.__name__} (modelcheck.{kind.name})" for kind in kinds)
    raise TypeError(f"modelcheck_snapshot cannot lock a {type(result).__name__}; it locks {lockable}")
