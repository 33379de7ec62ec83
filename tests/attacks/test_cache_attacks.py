"""No change of what an export is made of is missed, and where nothing has changed it is taken from the store."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from cache_attacks import ATTACKS  # type: ignore[import-not-found]
from run_cache_attacks import row_files, write  # type: ignore[import-not-found]

HERE = Path(__file__).parent

ACME = """
import os, torch
from torch import nn
from acme import config
FLAG = False
REGISTRY = {"act": torch.relu}
AT_IMPORT = os.environ.get("ACME_AT_IMPORT")
def act(x):
    return x.relu()
def read(path):
    return float(open(path).read())
def env_act(x, name):
    return x.relu() if os.environ.get(name) else x
def flag_act(x):
    return x.relu() if FLAG else x
def config_act(x):
    return x.relu() if config.FLAG else x
def registry_act(x):
    return REGISTRY["act"](x)
def extra_act(x):
    return REGISTRY.get("extra", torch.relu)(x)
BY_CLASS = {}
def class_act(module, x):
    return BY_CLASS.get(type(module), torch.relu)(x)
def named_act(module, x):
    return BY_CLASS.get(str(type(module)), torch.relu)(x)
def patch():
    torch.nn.functional.silu = lambda x: x.tanh()
class Act(nn.Module):
    def forward(self, x):
        return x.relu()
"""
RELU, TANH = ("def act(x):\n    return x.relu()\n", "def act(x):\n    return x.tanh()\n")
EDIT = "from acme_edit.constants import K\ndef act(x):\n    return x.relu()\ndef scaled(x):\n    return x * K\n"
LIBRARIES = {
    "acme": ("1.0", {"__init__": ACME, "config": "FLAG = False\n"}, ()),
    "acme_up": ("1.0", {"__init__": "", "ops": RELU}, ()),
    "acme_same": ("1.0", {"__init__": RELU}, ()),
    "acme_edit": ("1.0", {"__init__": EDIT, "constants": "K = 2.0\n"}, ()),
    "acme_on_dep": ("1.0", {"__init__": "from acme_dep import act\n"}, ("acme_dep",)),
    "acme_dep": ("1.0", {"__init__": RELU}, ()),
    "acme_both": ("1.0", {"__init__": RELU}, ()),
    "acme_space": ("1.0", {"ops": RELU, "constants": "K = 2.0\n"}, ()),
}
UPGRADED = {
    "acme_new": ("1.0", {"__init__": TANH}, ()),
    "acme_up": ("2.0", {"__init__": "", "ops": TANH}, ()),
    "acme_same": ("1.0", {"__init__": TANH}, ()),
    "acme_dep": ("2.0", {"__init__": TANH}, ()),
    "acme_both": ("2.0", {"__init__": TANH}, ()),
    "acme_space": ("2.0", {"ops": TANH, "constants": "K = 3.0\n"}, ()),
}


def wheels(folder, libraries):
    """Real wheels of tiny packages (PEP 427), which pip installs; to build them by setuptools takes seconds each."""
    made = []
    folder.mkdir(parents=True)
    for name, (version, modules, requires) in libraries.items():
        info = f"{name}-{version}.dist-info"
        files = {f"{name}/{module}.py": text for module, text in modules.items()}
        metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        files[f"{info}/METADATA"] = "\n".join([*metadata, *(f"Requires-Dist: {other}" for other in requires), ""])
        files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        record = [f"{file},sha256={digest(text)},{len(text)}" for file, text in files.items()]
        files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
        made.append(folder / f"{name}-{version}-py3-none-any.whl")
        with zipfile.ZipFile(made[-1], "w") as archive:
            for file, text in files.items():
                archive.writestr(file, text)
    return made


def digest(text):
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, text=True)


def install(files, site):
    pip("install", "--no-deps", "--no-index", "--no-compile", "--target", site, "--upgrade", *files)


def run(run, folder, site, store, cwd, **environment):
    command = [sys.executable, str(HERE / "run_cache_attacks.py"), run, *map(str, (folder, site, store))]
    path = os.pathsep.join([str(HERE), str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = {(said := json.loads(line))["row"]: said for line in done.stdout.splitlines() if line.startswith("{")}
    assert len(rows) == len(ATTACKS), done.stderr[-2000:]
    return rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """What each row's export did: first run, unchanged ones in other surroundings, and the changed one."""
    base = tmp_path_factory.mktemp("attacks")
    for name in ("one", "two"):
        for number in range(len(ATTACKS)):
            write(base / name, number, row_files(number))
    (base / "sites" / "dev" / "acme_dev").mkdir(parents=True)
    (base / "sites" / "dev" / "acme_dev" / "__init__.py").write_text(RELU)
    install(wheels(base / "v1", LIBRARIES), base / "sites" / "before")
    shutil.copytree(base / "sites" / "before", base / "sites" / "after")
    found = {"first": run("first", base / "one", base / "sites" / "before", base / "store", base)}
    elsewhere = {"PYTHONHASHSEED": "77", "PYTEST_XDIST_WORKER": "gw1", "COLUMNS": "77", "TERM": "vt100"}
    found["same"] = run("same", base / "two", base / "sites" / "before", base / "store", base / "two", **elsewhere)
    after = base / "sites" / "after"
    install(wheels(base / "v2", UPGRADED), after)
    assert (after / "acme_both-1.0.dist-info").is_dir(), "pip --target leaves the old records"
    (after / "acme_edit" / "__init__.py").write_text(EDIT.replace("relu", "tanh"))
    (after / "acme_edit" / "constants.py").write_text("K = 3.0\n")
    later = time.time() + 5
    for file in (after / "acme_edit").iterdir():
        os.utime(file, (later, later))
    (base / "sites" / "dev" / "acme_dev" / "__init__.py").write_text(TANH)
    for number, attack in enumerate(ATTACKS):
        write(base / "one", number, attack.change)
    found["changed"] = run("changed", base / "one", after, base / "store", base)
    return found


@pytest.mark.parametrize("number", range(len(ATTACKS)), ids=[attack.name for attack in ATTACKS])
def test_what_is_changed_is_noticed_and_what_is_not_is_taken(rows, number):
    first, same, changed = (rows[run][number] for run in ("first", "same", "changed"))
    assert not [said["error"] for said in (first, same, changed) if "error" in said]
    expected = ATTACKS[number].expected
    assert first["kept"] == (expected != "never kept"), first["why"]
    assert not first["taken"]
    if expected == "never kept":
        assert not same["taken"]
        assert first["why"][0].startswith("cannot be compared between runs: ")
    else:
        assert same["taken"], same["why"]
        assert changed["taken"] == (expected == "taken"), changed["why"]


def test_the_list_is_long_and_says_each_thing_once():
    assert len(ATTACKS) >= 66 + 40
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS)
