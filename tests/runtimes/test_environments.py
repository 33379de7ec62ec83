"""Environments of runtimes that cannot be installed beside torch: whole or absent, made by one command."""

import json
import os
import site
import stat
import sys
from importlib import metadata

import pytest

from pytest_modelcheck.__main__ import main
from pytest_modelcheck.runtimes import RUNTIMES, runtime_named
from pytest_modelcheck.runtimes.environments import Environment, InstallError

WEB = Environment(name="web", kind="node", packages=("onnxruntime-web@1.30.0", "other@2"))
APART = [runtime.name for runtime in RUNTIMES if runtime.environment is not None]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """An empty folder of environments, and a PATH with only what a test puts there."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("MODELCHECK_RUNTIMES", str(tmp_path / "envs"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def command(name, script):
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return command


def folders(tmp_path):
    return os.listdir(tmp_path / "envs") if (tmp_path / "envs").exists() else []


def test_an_environment_is_made_once_from_the_pins(machine, tmp_path):
    machine("node", "exit 9")
    machine("npm", f'echo "$@" >> {tmp_path}/asked')
    assert not WEB.installed
    WEB.install()
    WEB.install()
    assert WEB.installed
    assert WEB.version == "1.30.0"
    assert WEB.interpreter == tmp_path / "bin" / "node"
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert asked.endswith("--ignore-scripts --no-fund onnxruntime-web@1.30.0 other@2")


def test_an_environment_of_other_pins_is_not_used(machine):
    machine("node", "")
    machine("npm", "")
    WEB.install()
    assert not Environment(name="web", kind="node", packages=("onnxruntime-web@1.31.0",)).installed


def test_what_the_installer_says_is_in_the_error_and_nothing_is_left(machine, tmp_path):
    machine("node", "")
    machine("npm", "echo 'E404 no such package' >&2; exit 1")
    with pytest.raises(InstallError, match=r"web could not be installed: .*npm install .* said 'E404 no such package'"):
        WEB.install()
    assert folders(tmp_path) == []


def test_an_installation_that_was_stopped_is_made_again(machine, tmp_path):
    machine("node", "")
    machine("npm", "")
    WEB.folder.mkdir(parents=True)
    (WEB.folder / "half").write_text("")
    assert not WEB.installed
    WEB.install()
    assert WEB.installed
    assert not (WEB.folder / "half").exists()


@pytest.mark.parametrize(("there", "missing"), [((), "node"), (("npm",), "node"), (("node",), "npm")])
def test_without_node_or_npm_the_one_that_is_missing_is_named(machine, tmp_path, there, missing):
    for name in there:
        machine(name, "")
    with pytest.raises(InstallError, match=rf"web needs node and npm, and the PATH has no {missing}"):
        WEB.install()
    assert folders(tmp_path) == []


def test_without_a_new_enough_python_the_option_is_named(machine, tmp_path):
    machine("python3.12", "echo pyenv: python3.12: command not found; exit 127")
    machine("python3.13", "echo 3 13")
    newer = Environment(name="lite", kind="python", packages=("a==1",), python=(3, 99))
    with pytest.raises(InstallError, match=r"lite needs CPython 3\.99 or newer, and the PATH is none: .* --python"):
        newer.install()
    with pytest.raises(InstallError, match=r"and /no/python is none"):
        newer.install("/no/python")
    assert folders(tmp_path) == []


def test_the_first_python_that_is_new_enough_makes_it(machine, tmp_path, monkeypatch):
    machine("python3.12", "exit 127")
    machine("python3.14", f'test "$1" = -c && echo 3 99 || {{ mkdir -p $3/bin; cp {tmp_path}/bin/pip $3/bin/python; }}')
    machine("pip", f'echo "$@" > {tmp_path}/asked')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    lite = Environment(name="lite", kind="python", packages=("a==1", "b==2"), python=(3, 99))
    lite.install()
    assert (tmp_path / "asked").read_text() == "-m pip install --quiet a==1 b==2\n"
    assert lite.version == "1"
    assert json.loads((lite.folder / "made.json").read_text())["python"] == str(tmp_path / "bin" / "python3.14")


SHARING = Environment(name="torchy", kind="python", packages=("a==1",), beside="pytest")


def test_one_that_shares_a_package_is_made_from_this_python_and_sees_its_packages(machine, tmp_path, monkeypatch):
    machine(
        "this",
        f'test "$1" = -c && echo 3 99 || {{ mkdir -p $3/lib/python3.99/site-packages $3/bin; '
        f"cp {tmp_path}/bin/pip $3/bin/python; }}",
    )
    machine("pip", "exit 0")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "this"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    SHARING.install()
    (seen,) = SHARING.folder.glob("lib/python3.99/site-packages/beside.pth")
    assert seen.read_text().splitlines() == site.getsitepackages()


def test_one_that_shares_a_package_is_another_one_beside_another_version_of_it(machine, monkeypatch):
    before = SHARING.folder
    monkeypatch.setattr(metadata, "version", lambda name: {"pytest": "0.0"}[name])
    assert SHARING.folder != before


def test_one_that_shares_a_package_takes_no_other_python(machine, tmp_path):
    with pytest.raises(InstallError, match="torchy shares pytest with this Python: leave --python out"):
        SHARING.install("python3.14")
    assert folders(tmp_path) == []


@pytest.mark.parametrize("name", APART)
def test_a_runtime_without_its_environment_is_missing_with_its_command(machine, name):
    runtime = runtime_named(name)
    assert not runtime.installed
    assert runtime.install == f"python -m pytest_modelcheck runtimes install {name}"


def test_the_command_refuses_what_needs_no_environment(machine, capsys):
    assert main(["runtimes", "install", "openvino"]) == 2
    assert capsys.readouterr().err == (
        "error: openvino needs no environment of its own: pip install 'pytest-modelcheck[openvino]'\n"
    )
    assert main(["runtimes", "install", "lite"]) == 2
    assert "unknown runtime 'lite'" in capsys.readouterr().err


def test_the_command_makes_an_environment_and_says_where(machine, capsys):
    machine("node", "")
    machine("npm", "")
    assert main(["runtimes", "install", "onnxruntime-web"]) == 0
    runtime = runtime_named("onnxruntime-web")
    assert capsys.readouterr().out == f"onnxruntime-web {runtime.version()} is in {runtime.environment.folder}\n"
