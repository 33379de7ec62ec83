"""A library that had a step since the snapshots of a test were recorded is named in every finding of that test."""

import os
import re
import shutil

MODULES = "assert modelcheck.modules == modelcheck_snapshot"
BOTH = "modelcheck, modelcheck_snapshot"


def recorded(project, *markers):
    project.gated(*markers, body=MODULES, fixtures=BOTH).run("--snapshot-update")
    (name,) = project.files()
    return f"snapshots/{name}"


def other_version(project, name, library):
    text = (project.path / name).read_text(encoding="utf-8")
    project.file(name, re.sub(rf"\b{library} [\d.]+", f"{library} 1.0", text))


def test_a_gate_that_fails_names_the_steps_and_so_does_the_run(project):
    other_version(project, recorded(project, "expect_ops(Gemm=2)"), "torch")
    project.run().outcomes(passed=1).lacks("1.0, now", "versions since recording")
    project.replace("test_it.py", "Gemm=2", "Gemm=3")
    project.run("--modelcheck-report", "out.json").outcomes(failed=1).has(
        "next:  Recorded with torch 1.0, now ", "versions since recording: torch 1.0 -> "
    )
    (row,) = project.report()["tests"]
    assert row["drift"]["torch"][0] == "1.0"


def test_a_library_that_has_no_part_in_a_kind_is_no_reason_of_its_change(project):
    name = recorded(project)
    other_version(project, name, "onnxruntime")
    other_version(project, name, "onnx_ir")
    project.model((project.path / "net.py").read_text(encoding="utf-8").replace("ReLU", "Tanh"))
    project.run().outcomes(failed=1).has(
        "Recorded with onnx_ir 1.0, now ", "versions since recording: onnx_ir 1.0 -> "
    ).lacks("onnxruntime 1.0")


def test_a_gate_and_each_snapshot_say_that_the_optimized_graph_is_the_locked_one(project):
    whole = "assert modelcheck == modelcheck_snapshot"
    project.gated("expect_ops(Gemm=2)", body=whole, fixtures=BOTH).run("--snapshot-update")
    project.replace("test_it.py", "Gemm=2", "Gemm=3")
    modules = "snapshots/test_it/test_net.modules.txt"
    project.file(modules, (project.path / modules).read_text(encoding="utf-8").replace("Gemm 1", "Gemm 2", 1))
    same = "where: the optimized graph is the locked one, node for node (values of weights aside)"
    text = project.run("--modelcheck-report", "out.json").outcomes(failed=1).result.stdout.str()
    assert text.count(same) == text.count("  where: ") == 2
    (row,) = project.report()["tests"]
    assert row["as_locked"] is True
    project.model((project.path / "net.py").read_text(encoding="utf-8").replace("ReLU", "Tanh"))
    project.run("--modelcheck-report", "out.json").outcomes(failed=1).lacks(same)
    (row,) = project.report()["tests"]
    assert row["as_locked"] is False


LAYERS = "import torch\nclass Act(torch.nn.Module):\n    def forward(self, x):\n        return torch.{}(x)\n"


def install(project, version, function):
    """What installing ``acme-layers`` leaves."""
    for old in project.path.glob("site/acme_layers-*"):
        shutil.rmtree(old)
    info = f"site/acme_layers-{version}.dist-info"
    project.file("site/acme_layers/__init__.py", LAYERS.format(function))
    project.file(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: acme-layers\nVersion: {version}\n")
    project.file(f"{info}/RECORD", f"acme_layers/__init__.py,,\n{info.removeprefix('site/')}/RECORD,,\n")


def test_a_library_that_defines_a_class_of_the_model_is_named_too(project, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{project.path / 'site'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    install(project, "1.0", "relu")
    net = (project.path / "net.py").read_text(encoding="utf-8")
    project.model(f"import acme_layers\n{net.replace('torch.nn.ReLU()', 'acme_layers.Act()')}")
    project.gated(body=MODULES, fixtures=BOTH).run("--modelcheck-cache=kept", subprocess=True)
    project.run("--snapshot-update", "--modelcheck-cache=kept", subprocess=True).outcomes(passed=1)
    (name,) = project.files()
    header = (project.path / "snapshots" / name).read_text(encoding="utf-8").splitlines()[2]
    assert header.startswith("# recorded with: acme_layers 1.0, exporter torchscript, onnx ")
    install(project, "2.0", "tanh")
    project.run("--modelcheck-report", "out.json", subprocess=True).outcomes(failed=1).has(
        "where: act: -1 Relu, +1 Tanh",
        "next:  Recorded with acme_layers 1.0, now 2.0. If the change is meant, ",
        "versions since recording: acme_layers 1.0 -> 2.0",
    )
    (row,) = project.report()["tests"]
    assert row["drift"] == {"acme_layers": ["1.0", "2.0"]}
