"""Every option of the plugin, in one table: command line wins over ini, ini over the default.

A command line default is always None: an option that was not given must not hide the ini file's.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest_modelcheck.recorder as recorder
from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.model_case import EXPORTERS, Exporter
from pytest_modelcheck.targets import TARGETS, Target

if TYPE_CHECKING:
    import pytest

INCONCLUSIVE_CHOICES = ("warn", "missed", "fail", "skip")
REPORT_SUFFIXES = (".html", ".md", ".json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one run, each already of its final type.

    Attributes:
        enabled: Whether model checks run at all.
        models: Models to check without a test of their own: ``hf:bert-base-uncased``, ``module:build``, a file.
        reports: Files to write the report to.
        cache: Directory of cached exports; None to export into a temporary directory.
        explain: Whether the summary says what was taken from an earlier run, and why not more.
        exporter: Overrides the exporter of every model case; None leaves it.
        target: What the optimized graph may contain.
        passes: Names of passes (or ``module:attribute``) that make the pipeline; empty for the default pipeline.
        gates: Further gates, ``module:attribute``.
        snapshots: Directory of the locked snapshots.
        inconclusive: What an inconclusive latency does: ``warn``, ``fail``, ``skip``, or ``missed``: fail where the
            estimate misses the bound (the default where the environment says ``CI=true``).
        latency_budget: Seconds a latency gate may measure.
        export_timeout: Seconds an exporter may take; None for any.
        known_failures: The table of known failures; None for none.
        known_failures_strict: Whether a row of it that passes now fails the run.
    """

    enabled: bool
    models: tuple[str, ...]
    reports: tuple[Path, ...]
    cache: Path | None
    explain: bool
    exporter: Exporter | None
    target: Target
    passes: tuple[str, ...]
    gates: tuple[str, ...]
    snapshots: Path
    inconclusive: str
    latency_budget: float
    export_timeout: float | None
    known_failures: Path | None
    known_failures_strict: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    name: str
    help: str
    flag: str | None = None
    ini_type: str = "string"
    action: str = "store"
    metavar: str | None = None


_TABLE: tuple[_Option, ...] = (
    _Option(
        name="modelcheck",
        flag="--modelcheck",
        action="store_true",
        ini_type="bool",
        help="run model checks; without it tests that need them are skipped",
    ),
    _Option(
        name="modelcheck_model",
        flag="--modelcheck-model",
        action="append",
        metavar="MODEL",
        ini_type="linelist",
        help="check MODEL by the usual gates, without a test: hf:NAME[:tiny], timm:NAME, torchvision:NAME, "
        "module:build, FILE.onnx; repeatable, implies --modelcheck",
    ),
    _Option(
        name="modelcheck_report",
        flag="--modelcheck-report",
        action="append",
        metavar="FILE",
        ini_type="linelist",
        help=f"write the report to FILE ({', '.join(REPORT_SUFFIXES)}); repeatable",
    ),
    _Option(
        name="modelcheck_cache",
        flag="--modelcheck-cache",
        metavar="DIR",
        help="directory of cached exports, relative to the root directory (default: .modelcheck)",
    ),
    _Option(
        name="modelcheck_no_cache",
        flag="--modelcheck-no-cache",
        action="store_true",
        ini_type="bool",
        help="bypass the cache: export and measure every model and keep nothing",
    ),
    _Option(
        name="modelcheck_explain",
        flag="--modelcheck-explain",
        action="store_true",
        ini_type="bool",
        help="say for each model what was taken from an earlier run, and why not more",
    ),
    _Option(
        name="modelcheck_exporter",
        flag="--modelcheck-exporter",
        metavar="NAME",
        help=f"use this exporter for every model case: {', '.join(EXPORTERS)}",
    ),
    _Option(
        name="modelcheck_target",
        flag="--modelcheck-target",
        metavar="NAME",
        help=f"what the optimized graph may contain: {', '.join(TARGETS)} (default: portable)",
    ),
    _Option(
        name="modelcheck_passes",
        ini_type="linelist",
        help="the pipeline: one pass name or module:attribute per line (default: every pass of the main pipeline)",
    ),
    _Option(
        name="modelcheck_gates",
        ini_type="linelist",
        help="further gates: one module:attribute per line, e.g. conftest:GATE",
    ),
    _Option(
        name="modelcheck_snapshot_dir",
        help="directory of the snapshots, relative to the root directory (default: snapshots)",
    ),
    _Option(
        name="modelcheck_inconclusive",
        flag="--modelcheck-inconclusive",
        metavar="CHOICE",
        help=f"an inconclusive latency: {', '.join(INCONCLUSIVE_CHOICES)} (default: warn; missed with CI=true)",
    ),
    _Option(
        name="modelcheck_latency_budget",
        flag="--modelcheck-latency-budget",
        metavar="SECONDS",
        help="seconds that one latency gate may measure (default: 30)",
    ),
    _Option(
        name="modelcheck_export_timeout",
        flag="--modelcheck-export-timeout",
        metavar="SECONDS",
        help="seconds that an exporter may take, now or when a kept export was made (default: any)",
    ),
    _Option(
        name="modelcheck_known_failures",
        help="TOML table of failures that are expected, relative to the root directory",
    ),
    _Option(
        name="modelcheck_known_failures_strict",
        ini_type="bool",
        help="fail the run for a row of modelcheck_known_failures that passes now",
    ),
)

OPTION_NAMES = {option.name: option.flag for option in _TABLE}
"""Ini name -> command line flag, None where there is none."""


def add_options(parser: pytest.Parser) -> None:
    """Declare every option on the command line and in the ini file."""
    group = parser.getgroup("modelcheck", "model-export regression tests")
    for option in _TABLE:
        if option.flag is not None:
            extra: dict[str, Any] = {} if option.metavar is None else {"metavar": option.metavar}
            group.addoption(
                option.flag, dest=option.name, action=option.action, default=None, help=option.help, **extra
            )
        parser.addini(option.name, option.help, type=option.ini_type, default=None)  # type: ignore[arg-type]


def read_options(config: pytest.Config) -> Options:
    """The options in force.

    Raises:
        OptionError: naming the option, the value and the choices.
    """
    value = {option.name: _value(config, option) for option in _TABLE}
    root = config.rootpath
    return Options(
        enabled=bool(value["modelcheck"] or value["modelcheck_model"]),
        models=tuple(value["modelcheck_model"] or ()),
        reports=tuple(_report_path(name) for name in value["modelcheck_report"] or ()),
        cache=None if value["modelcheck_no_cache"] else root / (value["modelcheck_cache"] or ".modelcheck"),
        explain=bool(value["modelcheck_explain"]),
        exporter=_choice("--modelcheck-exporter", value["modelcheck_exporter"], EXPORTERS),
        target=_choice("--modelcheck-target", value["modelcheck_target"], TARGETS) or "portable",
        passes=tuple(value["modelcheck_passes"] or ()),
        gates=tuple(value["modelcheck_gates"] or ()),
        snapshots=root / (value["modelcheck_snapshot_dir"] or "snapshots"),
        inconclusive=_choice("modelcheck_inconclusive", value["modelcheck_inconclusive"], INCONCLUSIVE_CHOICES)
        or ("missed" if os.environ.get("CI", "").lower() in ("true", "1") else "warn"),
        latency_budget=_seconds("modelcheck_latency_budget", value["modelcheck_latency_budget"]),
        export_timeout=_seconds("modelcheck_export_timeout", limit)
        if (limit := value["modelcheck_export_timeout"])
        else None,
        known_failures=root / known if (known := value["modelcheck_known_failures"]) else None,
        known_failures_strict=bool(value["modelcheck_known_failures_strict"]),
    )


def record_if_enabled(config: pytest.Config) -> None:
    """Begin to record what is read, before any conftest is imported; nothing in a run without model checks."""
    given = vars(config.known_args_namespace)
    if any(_value(config, option, given.get(option.name)) for option in _TABLE[:2]):
        recorder.install(str(config.rootpath))


def _value(config: pytest.Config, option: _Option, given: Any = None) -> Any:
    if given is None and option.flag is not None:
        given = config.getoption(option.name, None)
    return config.getini(option.name) if given is None else given


Choice = TypeVar("Choice", bound=str)


def _choice(option: str, value: str | None, choices: tuple[Choice, ...]) -> Choice | None:
    if not value:
        return None
    for choice in choices:
        if choice == value:
            return choice
    raise OptionError(f"{option}: {value!r} is unknown; choose one of {', '.join(choices)}")


def _report_path(name: str) -> Path:
    path = Path(name)
    if path.suffix not in REPORT_SUFFIXES:
        raise OptionError(f"--modelcheck-report: {name!r} must end in {' or '.join(REPORT_SUFFIXES)}")
    return path


def _seconds(option: str, value: str | None) -> float:
    try:
        seconds = float(value or 30)
    except ValueError:
        raise OptionError(f"{option}: {value!r} is not a number of seconds") from None
    if not 0 < seconds < float("inf"):
        raise OptionError(f"{option}: {value!r} must be above 0 and finite")
    return seconds
