"""Which source files count in an export key."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import pytest_modelcheck
from pytest_modelcheck.export.sources import OWN_FILES, file_digests, is_library, with_imports


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Writes files below a folder that is on the import path; gives the names that a start file reaches."""
    monkeypatch.syspath_prepend(tmp_path)

    def reached(begin: str, /, **files: str) -> set[str]:
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            if path.parent != tmp_path:
                (path.parent / "__init__.py").touch()
        found, _ = with_imports([tmp_path / begin])
        return {path.relative_to(tmp_path).as_posix() for path in found}

    return reached


@pytest.mark.parametrize(
    "statement",
    [
        "import sca_pkg.inner",
        "import sca_pkg.inner as other",
        "from sca_pkg import inner",
        "from sca_pkg.inner import something",
        "def f():\n    from sca_pkg.inner import something",
        "try:\n    import sca_pkg.inner\nexcept ImportError:\n    pass",
        "import importlib\nimportlib.import_module('sca_pkg.inner')",
        "__import__('sca_pkg.inner')",
    ],
)
def test_every_way_to_import_a_file_is_followed_and_its_package_runs_too(tree, statement):
    assert tree("start.py", start=statement, sca_pkg__inner="") == {
        "start.py",
        "sca_pkg/__init__.py",
        "sca_pkg/inner.py",
    }


def test_imports_are_followed_through_files_and_circles(tree):
    files = {
        "start": "import sca_one",
        "sca_one": "import sca_two",
        "sca_two": "import sca_one, sca_three",
        "sca_three": "",
    }
    assert tree("start.py", **files) == {"start.py", "sca_one.py", "sca_two.py", "sca_three.py"}


def test_relative_imports_are_followed_from_the_file_that_has_them(tree):
    files = {"scb__start": "from . import near\nfrom ..scb.far import x", "scb__near": "", "scb__far": ""}
    assert {"scb/near.py", "scb/far.py"} <= tree("scb/start.py", **files)


def test_installed_packages_and_the_standard_library_are_not_followed(tree):
    assert tree("start.py", start="import json, numpy, torch.nn, pytest_modelcheck.export") == {"start.py"}


def test_a_file_that_does_not_parse_is_named(tmp_path):
    (tmp_path / "bad.py").write_text("def (")
    _, unknown = with_imports([tmp_path / "bad.py"])
    assert unknown == {str((tmp_path / "bad.py").resolve()): "a source file that cannot be parsed"}


def test_what_is_installed_is_a_library_and_what_is_not_is_the_users():
    assert is_library(np.__file__)
    assert is_library(torch.nn.__file__)
    assert is_library(json.__file__)
    assert is_library(pytest_modelcheck.__file__)
    assert is_library("<string>")
    assert not is_library(__file__)


def test_names_of_files_are_the_same_in_every_checkout(tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder / "zoo").mkdir(parents=True)
        (tmp_path / folder / "pyproject.toml").touch()
        (tmp_path / folder / "zoo" / "net.py").write_text("x = 1")
    first, second = (file_digests([tmp_path / folder / "zoo" / "net.py"]) for folder in ("one", "two"))
    assert first == second
    assert list(first) == ["zoo/net.py"]
    assert list(file_digests([Path(torch.nn.__file__)])) == ["torch/nn/__init__.py"]


def test_our_own_export_code_counts():
    names = {path.name for path in OWN_FILES}
    assert {"dynamo.py", "torchscript.py", "to_onnx.py", "forward.py", "model_case.py", "files.py"} <= names
    assert all(path.is_file() for path in OWN_FILES)


def test_a_package_installed_into_a_folder_of_its_own_is_a_library_and_its_neighbour_is_not(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("installed", "mine"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
    record = tmp_path / "installed-1.0.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text("installed/__init__.py,sha256=x,0\ninstalled-1.0.dist-info/RECORD,,\n")
    assert is_library(str(tmp_path / "installed" / "__init__.py"))
    assert not is_library(str(tmp_path / "mine" / "__init__.py"))
