"""The kinds of results that can be locked, each with its counting rule, its text and its differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_modelcheck.attribution import Attribution
from pytest_modelcheck.fusion import FusionReport, fusion_text
from pytest_modelcheck.hierarchy import ModuleTable, diff_tables, parse, render
from pytest_modelcheck.interface import Interface, interface_differences, interface_text, judge_interface
from pytest_modelcheck.latency.baseline import BaselineGraph, render_baseline
from pytest_modelcheck.result import Change
from pytest_modelcheck.snapshots import attribution_text
from pytest_modelcheck.snapshots.blocks import block_differences


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
        compared: Whether another result is a failure. If not, the recorded one is kept until ``--snapshot-update``.
    """

    name: str
    type: type
    rule: str
    render: Callable[[Any], str]
    differences: Callable[[str, str], tuple[str, ...]]
    judge: Callable[[str, Any], Change] | None = None
    compared: bool = True


def module_differences(recorded: str, now: str) -> tuple[str, ...]:
    """What each module gained or lost; the plain rows where the recorded text is no module table."""
    try:
        before = parse(recorded)
    except ValueError:
        return block_differences(recorded, now)
    return diff_tables(before, parse(now))


KINDS: tuple[SnapshotKind, ...] = (
    SnapshotKind(
        name="interface",
        type=Interface,
        rule="what the export promises to whoever runs it; bytes of initializers within 5 %, int64 (shapes) left out",
        render=interface_text,
        differences=interface_differences,
        judge=judge_interface,
    ),
    SnapshotKind(
        name="attribution",
        type=Attribution,
        rule=attribution_text.RULE,
        render=attribution_text.render,
        differences=attribution_text.differences,
    ),
    SnapshotKind(
        name="modules",
        type=ModuleTable,
        rule="nodes that each module of the model owns in the exported graph, Constant nodes left out; - is none",
        render=render,
        differences=module_differences,
    ),
    SnapshotKind(
        name="fusion",
        type=FusionReport,
        rule="compute nodes of the torch graph, attention written out; equal layers are written once, with their count",
        render=fusion_text,
        differences=block_differences,
    ),
    SnapshotKind(
        name="baseline",
        type=BaselineGraph,
        rule="the optimized graph without its weights, to be timed against later ones; never compared",
        render=render_baseline,
        differences=block_differences,
        compared=False,
    ),
)


def kind_of(result: object) -> SnapshotKind:
    """The kind of a result.

    Raises:
        TypeError: naming what can be locked.
    """
    for kind in KINDS:
        if isinstance(result, kind.type):
            return kind
    lockable = ", ".join(f"{kind.type.__name__} (modelcheck.{kind.name})" for kind in KINDS)
    raise TypeError(f"modelcheck_snapshot cannot lock a {type(result).__name__}; it locks {lockable}")
