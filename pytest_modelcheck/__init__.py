"""pytest-modelcheck: regression tests for exported models.

The map, one floor a line, from the top down. Imports run downward only, and within a line from left to right;
`tests/test_architecture.py` reads this list and holds it.

- `plugin`, `fixtures`, `run_report`, `session`, `declarations`, `configuration`, `options`, `known_failures`: the edge
- `__main__`, `commands`: the same library from the shell
- `report`: findings and figures as terminal lines, Markdown, HTML, JSON
- `scaffold`: a first test of a model
- `checking`: the gates as a plain function
- `performance`: the public names for what is counted and timed
- `torch_checks`: what concerns the module alone (cache parity, state, host transfers, compilation, memory)
- `gates`: one file per marker: reading, check, figures
- `check`: one model case under check
- `figures`, `snapshots`: results as plain data for reports, and as canonical text for syrupy
- `quantization`, `generation`, `golden`, `numbers`, `fusion`, `accuracy`, `latency`, `interface`: what is measured
- `export`: torch -> ONNX, one file per exporter
- `store`: results that are kept on disk
- `attribution`, `pipeline`, `foreign`: running passes, other people's among them, and what each one did
- `passes`: one file per pass or family
- `rewriting`: the rewriter through which every edit of a graph goes, and rules as formulas
- `shapes`: symbolic sizes and contents, broadcasting, slices, evaluation of constants
- `capture`, `hierarchy`, `graph`: torch graphs; owners of nodes; reading, writing and checking an ONNX graph
- `runtimes`: what runs a graph
- `calling`: building and calling a module
- `recorder`: what this process reads from outside, and which code runs
- `model_case`, `dimensions`, `targets`, `result`, `bounds`, `errors`: the words
- `late_sympy`: a lighter onnx_ir

The road of a case: a hook of `plugin` finds a test, `session` reads its markers, the fixture `modelcheck` hands out a
`check.ModelCheck`, and after the test's body `session.judge` lets `gates.evaluate` run each gate. What a gate finds is
a `result.Finding`, which fails the test, and a row of `report`.

Importing this package loads neither torch nor onnx.
"""

from typing import TYPE_CHECKING, Any

from pytest_modelcheck.model_case import ModelCase
from pytest_modelcheck.result import Finding, Verdict

if TYPE_CHECKING:
    from pytest_modelcheck.checking import CheckedExport, check_export

__all__ = ["CheckedExport", "Finding", "ModelCase", "Verdict", "check_export"]


def __getattr__(name: str) -> Any:
    """Load `check_export` when it is asked for: every pytest run of the environment imports this package."""
    if name in ("CheckedExport", "check_export"):
        from pytest_modelcheck import checking

        return getattr(checking, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
