"""docs/models.md, executed: every recipe is a test file that is green."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("forked_python")

TEXT = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
RECIPES = [
    (re.sub(r"\W+", "_", title.lower()), block)
    for title, part in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, flags=re.DOTALL | re.MULTILINE)
    for block in re.findall(r"```python\n(.*?)```", part, flags=re.DOTALL)
]


def test_every_heading_has_one_recipe():
    assert len(RECIPES) == TEXT.count("\n## ") == 10


def test_every_recipe_is_green(pytester):
    pytest.importorskip("onnxruntime")
    for title, block in RECIPES:
        pytester.makepyfile(**{f"test_{title}": block})
    result = pytester.runpytest_subprocess("--modelcheck", "--modelcheck-no-cache", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=14)
