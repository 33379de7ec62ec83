"""``python -m pytest_modelcheck init module:build | model.onnx | hf:NAME | ...``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.result import printable_line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, and where its files go."""
    parser.add_argument("model", metavar="MODEL", help="module:build, model.onnx, hf:NAME, timm:NAME, torchvision:NAME")
    parser.add_argument("--inputs", metavar="MODULE:FUNCTION", help="default: `inputs` beside `build`")
    parser.add_argument("--tiny", action="store_true", help="small sizes of the same architecture (hf:)")
    parser.add_argument("--test", metavar="FILE", help="default: tests/test_NAME_export.py")
    parser.add_argument("--workflow", metavar="FILE", default=".github/workflows/modelcheck.yml")
    parser.add_argument("--no-run", action="store_true", help="write the files, record no snapshots")


def run(arguments: argparse.Namespace) -> int:
    """Write a test with today's bounds, a CI workflow and the ini lines; record its snapshots; say what to commit."""
    from pytest_modelcheck.report.progress import progress_of
    from pytest_modelcheck.scaffold.files import (
        IGNORED,
        has_pytest_configuration,
        is_ignored,
        source_of_test,
        workflow,
    )
    from pytest_modelcheck.scaffold.measured import measure
    from pytest_modelcheck.scaffold.targets import read_target

    root, environment = Path.cwd(), dict(os.environ)
    sys.path.insert(0, str(root))  # as the ini line below does for the test
    target = read_target(arguments.model, inputs=arguments.inputs, tiny=arguments.tiny)
    test = Path(arguments.test or f"tests/test_{target.identifier}_export.py")
    if test.exists():
        raise OptionError(f"{test} exists already: name another file with --test, or delete it")
    print(f"measuring {arguments.model} ...", flush=True)
    progress = progress_of(sys.stderr, terminal=sys.stderr.isatty())
    try:
        measured = measure(target, progress)
    finally:
        progress("")
        progress.close()

    written = [_write(test, source_of_test(target, measured, folder=test.parent))]
    written += [target.file] if target.file else []
    if not Path(arguments.workflow).exists():
        written.append(_write(Path(arguments.workflow), workflow(target, root)))
    if not has_pytest_configuration(root):
        written.append(_write(root / "pytest.ini", "[pytest]\npythonpath = .\n").relative_to(root))
    if not is_ignored(root):
        with open(root / ".gitignore", "a", encoding="utf-8") as ignored:
            ignored.write(f"{IGNORED}\n")
        written.append(Path(".gitignore"))
    for line in (*target.notes, *measured.notes):
        print(printable_line(f"note: {line}"))
    for finding in measured.left_out:
        print(f"no marker is written for what does not hold today:\n{finding.render()}")
    status = 0
    if not arguments.no_run:
        command = [sys.executable, "-m", "pytest", "--modelcheck", "--snapshot-update", "-q", str(test)]
        # The environment that the next run has too: with variables that torch set here, nothing of it would be reused.
        status = subprocess.run(command, check=False, env=environment).returncode
        written.append(Path("snapshots"))
    print(f"commit: git add {' '.join(path.as_posix() for path in written)}")
    print(f"from now on: pytest --modelcheck {test.as_posix()}")
    return 1 if status else 0


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
