"""Which modules can be found, without importing the packages that they are in."""

import sys

import pytest

from pytest_modelcheck.store.installed import can_be_found


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize(
    ("module", "found"),
    [
        ("here", True),
        ("here.part", True),
        ("here.part.deep", True),
        ("here.none", False),
        ("here.part.deep.none", False),
    ],
)
def test_a_submodule_is_looked_for_in_a_package_that_is_loaded_or_not(tmp_path, monkeypatch, loaded, module, found):
    (tmp_path / "here" / "part").mkdir(parents=True)
    for folder in ("here", "here/part"):
        (tmp_path / folder / "__init__.py").touch()
    (tmp_path / "here" / "part" / "deep.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    if loaded:
        __import__("here.part")
    try:
        assert can_be_found(module) == found
        assert ("here" in sys.modules) == loaded
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "here"]:
            del sys.modules[name]
