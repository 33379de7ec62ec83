"""Tests of models for which nobody wrote one: ``pytest --modelcheck-model=hf:bert-base-uncased``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.scaffold.files import source_of_test
from pytest_modelcheck.scaffold.measured import Measured
from pytest_modelcheck.scaffold.target import TargetError
from pytest_modelcheck.scaffold.targets import read_target

USUAL = ["@pytest.mark.expect_accuracy", '@pytest.mark.expect_hierarchy(coverage=">=95%")']
"""The gates of such a test, beside those that pyproject.toml gives to every test."""


def write_tests(models: Iterable[str], folder: Path) -> list[str]:
    """Write one test file for each model; returns their paths.

    Args:
        models: As `read_target` takes them; ``:tiny`` behind a name of transformers takes the same architecture with
            small sizes.
        folder: Where the files go. Those of earlier runs are replaced.

    Raises:
        OptionError: naming the model, if there is no such one.
    """
    sys.path.insert(0, str(Path.cwd()))
    paths = []
    for model in models:
        name = model.removesuffix(":tiny")
        try:
            target = read_target(name, tiny=name != model)
        except TargetError as error:
            raise OptionError(f"--modelcheck-model: {error}") from None
        path = folder / f"test_{target.identifier}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source_of_test(target, Measured("dynamo", USUAL), locked=False), encoding="utf-8")
        paths.append(str(path))
    return paths
