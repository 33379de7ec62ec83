"""The hooks pytest calls. A switchboard: each finds its input, calls the library, hands back the result."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_modelcheck import session as sessions
from pytest_modelcheck.errors import ModelCheckError
from pytest_modelcheck.fixtures import (
    attribution,
    exported,
    fusion_report,
    hierarchy_report,
    model_case,
    modelcheck,
    modelcheck_snapshot,
    optimized,
)
from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.options import add_options, read_options, record_if_enabled
from pytest_modelcheck.run_report import Reporting, Running

__all__ = [
    "attribution",
    "exported",
    "fusion_report",
    "hierarchy_report",
    "model_case",
    "modelcheck",
    "modelcheck_snapshot",
    "optimized",
]

SKIP_REASON = "model checks run with --modelcheck (or ini modelcheck = true)"


def pytest_addoption(parser: pytest.Parser) -> None:
    add_options(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    record_if_enabled(early_config)


def pytest_configure(config: pytest.Config) -> None:
    try:
        options = read_options(config)
        sessions.start(config, options)
        if options.models:
            sessions.add_models(config, options)
    except ModelCheckError as error:
        raise pytest.UsageError(str(error)) from error
    for line in sessions.marker_lines(config):
        config.addinivalue_line("markers", line)
    if options.enabled and not hasattr(config, "workerinput"):
        known = sessions.session_of(config).declarations.known
        config.pluginmanager.register(Reporting(options, known), "modelcheck-reporting")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    session = sessions.session_of(config)
    if session.options.enabled:
        config.pluginmanager.register(Running(session.shown), "modelcheck-running")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:  # of xdist: its workers collect the same tests
    node.workerinput["modelcheck_models"] = sessions.session_of(node.config).models


def pytest_report_header(config: pytest.Config) -> list[str]:
    return sessions.session_of(config).declarations.configuration.lines()


def pytest_unconfigure(config: pytest.Config) -> None:
    sessions.stop(config)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    # pytest takes every test*.txt for a doctest
    return True if sessions.session_of(config).options.snapshots in collection_path.parents else None


def pytest_make_parametrize_id(val: object) -> str | None:
    return f"{val.name}-{val.exporter}" if isinstance(val, ModelCase) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    session = sessions.session_of(config)
    if session.options.enabled:
        session.declarations.declare(items)
        return
    for item in items:
        # All our results come from `modelcheck`; a project's own fixture `exported` is none of our business.
        if "modelcheck" in getattr(item, "fixturenames", ()) or any(
            mark.name in session.declarations.gates for mark in item.iter_markers()
        ):
            item.add_marker(pytest.mark.skip(reason=SKIP_REASON))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    sessions.session_of(item.config).begin(item)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    error: BaseException | None = None
    result: object = None
    try:
        result = yield
    except (Exception, pytest.fail.Exception) as raised:
        error = raised  # judged outside this block: a failure raised here would show it once more, as its context
    sessions.session_of(pyfuncitem.config).judge(pyfuncitem, error)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    report = yield
    session = sessions.session_of(item.config)
    if call.when == "call" and report.passed and (reason := session.unjudged(item)):
        report.outcome, report.longrepr = "failed", reason
    if call.when == "call" and call.excinfo is not None and (short := session.short_form(item, call.excinfo.value)):
        report.longrepr.reprcrash.message = short
    if call.when == "call" or (call.when == "setup" and report.failed):
        report.modelcheck = session.row(item, report.outcome)
        item.user_properties += sessions.properties(report.modelcheck)
    elif call.when == "teardown":
        session.forget(item)
    report.modelcheck_locked = "modelcheck_snapshot" in getattr(item, "fixturenames", ())
    return report


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if (report.failed or hasattr(report, "wasxfail")) and getattr(report, "modelcheck_locked", False):
        sessions.keep_snapshots(report.nodeid)


def pytest_assertrepr_compare(left: object, right: object) -> list[str] | None:
    return sessions.explain_snapshot(left, right)
