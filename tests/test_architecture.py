"""The building rules: imports run downward, every module imports alone, and the edge stays light."""

import ast
import graphlib
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_modelcheck
from pytest_modelcheck.runtimes import RUNTIMES

PACKAGE = Path(pytest_modelcheck.__file__).parent

FLOORS = re.findall(r"`(\w+)`", "\n".join(re.findall(r"^- (.*?): ", pytest_modelcheck.__doc__, flags=re.MULTILINE)))
LEVEL = {room: index for index, room in enumerate(FLOORS)}
EDGE = {"plugin", "fixtures", "session", "declarations", "configuration", "run_report", "options"}
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
)


def room_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def imports_of(module, *, at_run_time_only):
    path = PACKAGE.parent.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id_
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
        if (id_ := getattr(inner, "lineno", None)) is not None
    }
    for node in ast.walk(tree):
        if at_run_time_only and getattr(node, "lineno", None) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "pytest_modelcheck")


def test_the_map_names_every_room_once_and_nothing_else():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert sorted(FLOORS) == sorted(rooms - {"__init__"})


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_downward_only(module):
    room = room_of(module)
    if room is None:
        return
    assert room in LEVEL, f"{room} has no floor: add it to the map in the docstring of pytest_modelcheck"
    for imported in imports_of(module, at_run_time_only=True):
        other = room_of(imported) if imported.startswith("pytest_modelcheck.") else None
        if other in LEVEL and other != room:
            assert LEVEL[other] > LEVEL[room], f"{module} imports {imported}, which stands above it"


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) not in EDGE])
def test_the_library_rooms_never_import_pytest(module):
    assert not [name for name in imports_of(module, at_run_time_only=True) if name.split(".")[0] == "pytest"]


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) != "runtimes"])
def test_only_the_room_of_runtimes_imports_a_runtime(module):
    text = PACKAGE.parent.joinpath(*module.split("."))
    text = (text / "__init__.py" if text.is_dir() else text.with_suffix(".py")).read_text(encoding="utf-8")
    packages = {runtime.package for runtime in RUNTIMES} - {"onnx"}  # onnx is the format, its evaluator a part of it
    imported = {name.split(".")[0] for name in imports_of(module, at_run_time_only=False)}
    by_name = set(re.findall(r"import_module\(['\"](\w+)", text))
    assert not packages & (imported | by_name)


def in_order():
    """The modules, each behind all that it imports."""
    known = set(MODULES)
    graph = {module: known.intersection(imports_of(module, at_run_time_only=False)) - {module} for module in MODULES}
    return list(graphlib.TopologicalSorter(graph).static_order())


def test_no_circle_of_imports():
    try:
        in_order()
    except graphlib.CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_every_module_imports_with_nothing_loaded_but_what_it_imports():
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    modules = [name for name in in_order() if not name.endswith("__main__")]
    subprocess.run([sys.executable, "-c", script, *modules], check=True, capture_output=True, text=True)


@pytest.mark.parametrize("module", ["pytest_modelcheck", "pytest_modelcheck.plugin", "pytest_modelcheck.gates"])
def test_the_edge_loads_no_heavy_library(module):
    heavy = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "numpy", "transformers")
    script = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_plugin_stays_a_switchboard():
    lines = (PACKAGE / "plugin.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 150


def test_public_names_of_the_design_exist():
    for module, names in {
        "export": ["export"],
        "passes": ["PASSES"],
        "pipeline": ["optimize", "run_pipeline"],
        "attribution": ["attribute"],
        "capture": ["capture", "decompose"],
        "fusion": ["partition"],
        "hierarchy": ["hierarchy"],
        "accuracy": ["compare", "sweep"],
        "performance": ["measure_paired", "peak_memory", "host_transfers"],
    }.items():
        room = importlib.import_module(f"pytest_modelcheck.{module}")
        assert [name for name in names if not hasattr(room, name)] == []
