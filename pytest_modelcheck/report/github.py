"""What GitHub Actions shows of a run: an annotation per failed test, and the report in the job's summary.

Sources: "Workflow commands for GitHub Actions" (``::error file=,line=,title=::``, ``GITHUB_STEP_SUMMARY``, its limit of
1 MiB per step) in GitHub's documentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from pytest_modelcheck.report.markdown import findings_of, markdown

_SUMMARY_BYTES = 1_000_000
"""A little less than the 1 MiB at which GitHub refuses the whole summary."""

_FOLDED = ("%", "%25"), ("\r", "%0D"), ("\n", "%0A")
_FOLDED_PROPERTY = (*_FOLDED, (":", "%3A"), (",", "%2C"))


def annotation_lines(rows: Sequence[dict[str, Any]], root: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """One workflow command for each test with findings, at the test's line; nothing outside GitHub Actions.

    Args:
        rows: One per test, see `rows.row_of_test`.
        root: The root directory of the run; the files of `rows` are relative to it.
        environment: ``os.environ``.

    Example:
        ``::error file=tests/test_net.py,line=7,title=test_net::expect_ops: Gemm expected 3, found 2 in net``
    """
    if environment.get("GITHUB_ACTIONS") != "true":
        return
    texts = dict(findings_of(rows))
    for row in rows:
        if row["test"] in texts:
            level = "error" if row["outcome"] == "failed" else "warning"
            file = _in_checkout(root / row["file"], environment.get("GITHUB_WORKSPACE", ""))
            title = row["test"].rpartition("::")[2]
            place = f"file={_escaped(file, _FOLDED_PROPERTY)},line={row['line']}"
            message = _escaped("\n\n".join(texts[row["test"]]), _FOLDED)
            yield f"::{level} {place},title={_escaped(title, _FOLDED_PROPERTY)}::{message}"


def write_summary(rows: Sequence[dict[str, Any]], environment: Mapping[str, str], *, exit_status: int = 0) -> None:
    """Append the report to the job's summary, cut at what GitHub accepts; nothing outside GitHub Actions.

    Raises:
        OSError: if the file that GitHub names cannot be written.
    """
    path = environment.get("GITHUB_STEP_SUMMARY")
    if environment.get("GITHUB_ACTIONS") != "true" or not path or not rows:
        return
    text = markdown(rows, exit_status=exit_status)
    if len(text.encode()) > _SUMMARY_BYTES:
        kept = text.encode()[:_SUMMARY_BYTES].decode(errors="ignore").rpartition("\n\n")[0]
        text = f"{kept}\n\nThe report is longer than a job's summary may be: keep it with --modelcheck-report.\n"
    with open(path, "a", encoding="utf-8") as summary:
        summary.write(f"{text}\n")


def _in_checkout(file: Path, workspace: str) -> str:
    """The path that GitHub knows: relative to the checkout."""
    if workspace and PurePath(workspace) in file.parents:
        return file.relative_to(workspace).as_posix()
    return file.as_posix()


def _escaped(text: str, pairs: Sequence[tuple[str, str]]) -> str:
    for plain, folded in pairs:
        text = text.replace(plain, folded)
    return text
