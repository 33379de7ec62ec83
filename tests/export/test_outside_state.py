"""What a forward reads besides weights and code: module attributes, environment variables, files, torch itself."""

import importlib
import sys

import pytest
import torch
from torch import nn

from pytest_modelcheck import ModelCase
from pytest_modelcheck.calling import module_inputs
from pytest_modelcheck.errors import OptionError
from pytest_modelcheck.export import ExportCache, Exported, ExportKey, export
from pytest_modelcheck.export.key import export_key

NET = """
import os, pathlib, torch
from torch import nn
import ost_settings

class Net(nn.Module):
    def forward(self, x):
        BODY

def build():
    pathlib.Path(__file__).read_text()
    return Net().eval()
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Writes a model with one forward body; gives a function that computes its key, and the settings it imports."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "ost_settings.py").write_text(
        "FLAG = False\nCFG = {'k': 1}\nUNREAD = 1\ndef helper(x):\n    return x\n"
        "def read(x):\n    return x * float(open('w.txt').read())\n"
    )

    def make(body):
        (tmp_path / "ost_net.py").write_text(NET.replace("BODY", body))
        for name in ("ost_net", "ost_settings"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        importlib.invalidate_caches()
        net = importlib.import_module("ost_net")
        return (lambda: key_of(net.build)), sys.modules["ost_settings"]

    yield make
    for name in ("ost_net", "ost_settings"):
        sys.modules.pop(name, None)


def key_of(build) -> ExportKey:
    case = ModelCase("net", build, lambda seed: (torch.ones(1, 4),))
    module = build()
    return export_key(case, module, module_inputs(case, module, 0))


@pytest.mark.parametrize(
    "body",
    [
        "return x.relu() if ost_settings.FLAG else x",
        "return x.relu() if getattr(ost_settings, 'FLAG') else x",
        "from ost_settings import FLAG; return x.relu() if FLAG else x",
        "import ost_settings as other; return x.relu() if other.FLAG else x",
    ],
)
def test_an_attribute_of_an_imported_module_that_is_set_at_run_time_changes_the_key(project, body):
    key, settings = project(body)
    first = key()
    assert key() == first
    settings.FLAG = True
    assert any("FLAG False -> True" in words for words in first.difference(key()))


def test_a_changed_item_of_an_imported_modules_dict_and_a_replaced_function_change_the_key(project):
    key, settings = project("return ost_settings.helper(x) * ost_settings.CFG['k']")
    first = key()
    settings.CFG["k"] = 2
    second = key()
    assert any("CFG.k 1 -> 2" in words for words in first.difference(second))
    settings.helper = lambda x: x + 1
    assert second.difference(key())


def test_an_attribute_that_the_forward_does_not_name_leaves_the_key_alone(project):
    key, settings = project("return x.relu() if ost_settings.FLAG else x")
    first = key()
    settings.UNREAD = 2
    assert key() == first


@pytest.mark.parametrize("read", ["os.environ.get('OST_X')", "os.getenv('OST_X')", "'OST_X' in os.environ"])
def test_an_environment_variable_with_a_literal_name_is_part_of_the_key_and_its_value_is_not_shown(
    project, read, monkeypatch
):
    key, _ = project(f"return x.tanh() if {read} else x")
    monkeypatch.delenv("OST_X", raising=False)
    first = key()
    assert first.uncacheable == ()
    monkeypatch.setenv("OST_X", "secret")
    said = first.difference(key())
    assert any(words.startswith("environment variable OST_X unset -> set (") for words in said)
    assert "secret" not in str(key().as_json())


@pytest.mark.parametrize(
    "body",
    [
        "return x * float(pathlib.Path('w.txt').read_text())",
        "return x * torch.load('w.pt')",
        "return x * len(open('w.txt').read())",
        "return x.tanh() if os.environ.get(str(self)) else x",
        "return x.tanh() if dict(os.environ) else x",
        "return ost_settings.read(x)",
    ],
)
def test_a_read_whose_content_cannot_be_known_makes_the_key_uncacheable_and_names_the_line(project, body):
    key, _ = project(body)
    (reason,) = key().uncacheable
    assert "ost_settings.py:7 calls open()" in reason or "ost_net.py:8 " in reason


def test_a_file_that_only_the_building_reads_is_no_obstacle(project):
    key, _ = project("return x")
    assert key().uncacheable == ()


@pytest.mark.parametrize(("owner", "name"), [(torch, "softmax"), (torch.nn.functional, "gelu"), (torch.Tensor, "tanh")])
def test_a_function_of_torch_replaced_at_run_time_changes_the_key(project, monkeypatch, owner, name):
    key, _ = project("return torch.softmax(x, -1)")
    first = key()
    monkeypatch.setattr(owner, name, lambda x, *rest: x * 2)
    second = key()
    assert any(f"replaced {owner.__name__}.{name}" in words for words in first.difference(second))
    monkeypatch.setattr(owner, name, lambda x, *rest: x * 3)
    assert second.difference(key())


def test_an_edited_conftest_beside_or_above_the_model_changes_the_key(project, tmp_path):
    key, _ = project("return x")
    (tmp_path / "conftest.py").write_text("X = 1\n")
    first = key()
    (tmp_path / "conftest.py").write_text("X = 2\n")
    assert any("conftest.py changed" in words for words in first.difference(key()))


CASE = ModelCase("tiny", nn.ReLU, lambda seed: (torch.ones(1, 4),), exporter="torchscript")


def test_a_cache_folder_that_is_a_file_is_one_error_that_names_it(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(OptionError, match=r"export cache cannot use .*cache.*(remove|choose)"):
        export(CASE, cache=ExportCache(tmp_path / "cache"))


def test_a_cases_folder_that_is_a_file_is_one_error_that_names_it(tmp_path):
    (tmp_path / "tiny-torchscript").write_text("")
    with pytest.raises(OptionError, match="tiny-torchscript"):
        export(CASE, cache=ExportCache(tmp_path))


def test_an_entry_that_is_a_file_is_exported_again_and_said(tmp_path):
    cache = ExportCache(tmp_path)
    first = export(CASE, cache=cache)
    assert isinstance(first, Exported)
    entry = first.path.parent
    entry.rename(tmp_path / "aside")
    entry.write_text("")
    second = export(CASE, cache=cache)
    assert isinstance(second, Exported)
    assert not second.cached
    assert "the cached export is damaged" in second.why[0]
    assert export(CASE, cache=cache).cached
