"""What the documents show is executed, and their tables are complete."""

import inspect
import pkgutil
import re
from pathlib import Path

import pytest

from pytest_modelcheck import ModelCase
from pytest_modelcheck.configuration import read_configuration
from pytest_modelcheck.gates import registered_gates
from pytest_modelcheck.options import OPTION_NAMES

pytestmark = pytest.mark.usefixtures("forked_python")

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def code_blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_readme_example_records_once_and_is_green_then(pytester):
    pytester.makepyfile(test_model=code_blocks(README, "python")[0])
    arguments = ["--modelcheck", "-p", "no:cacheprovider"]
    pytester.runpytest_subprocess(*arguments).assert_outcomes(failed=1)
    pytester.runpytest_subprocess(*arguments, "--snapshot-update").assert_outcomes(passed=1)
    result = pytester.runpytest_subprocess(*arguments)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["mlp * dynamo * 3 -> 3 *", "6 snapshots passed."])


def test_the_first_page_of_the_site_shows_the_example_of_the_readme():
    (block,) = code_blocks(DOCS["index.md"], "python")
    assert block == code_blocks(README, "python")[0]


def test_every_page_shows_an_example():
    assert [name for name, text in DOCS.items() if "```" not in text] == ["api.md"]
    for name in re.findall(r"^::: (\S+)$", DOCS["api.md"], flags=re.MULTILINE):
        assert "Example" in inspect.getdoc(pkgutil.resolve_name(name)), name


def test_the_test_of_the_page_of_numbers_records_and_is_green_then(project):
    project.file("test_numbers.py", code_blocks(DOCS["numbers.md"], "python")[0])
    project.run("--snapshot-update").outcomes(passed=1)
    project.run().outcomes(passed=1)


def test_the_pass_of_the_contributing_page_fires_refuses_and_keeps_the_result():
    import onnx_ir as ir

    from pytest_modelcheck.passes import Pass
    from pytest_modelcheck.pipeline import run_pass
    from pytest_modelcheck.rewriting.matching import produced_by
    from pytest_modelcheck.rewriting.rewriter import Rewriter

    source = "from dataclasses import dataclass\nfrom typing import ClassVar\n" + code_blocks(CONTRIBUTING, "python")[0]
    namespace = {"Pass": Pass, "Rewriter": Rewriter, "ir": ir, "produced_by": produced_by}
    exec(source, namespace)
    double_negation = namespace["EliminateDoubleNegation"]()
    header = '<ir_version: 10, opset_import: ["" : 20]>\nagraph (float[2] x) => (float[2] y) '
    fires = ir.from_onnx_text(header + "{ a = Neg(x) b = Neg(a) y = Relu(b) }")
    model, record = run_pass(fires, double_negation)
    assert [node.op_type for node in model.graph] == ["Relu"]
    assert record.delta == -2
    refused = ir.from_onnx_text(header + "{ a = Neg(x) y = Neg(a) }")
    _, record = run_pass(refused, double_negation)
    assert [refusal.reason for refusal in record.refusals] == [
        "the result is a graph output and its replacement cannot take that name"
    ]


@pytest.mark.parametrize("gate", registered_gates().values(), ids=lambda gate: gate.name)
def test_the_page_of_markers_lists_every_marker(gate):
    assert f"| `{gate.name}(" in DOCS["markers.md"]


def test_the_markers_of_the_readme_can_be_read():
    (block,) = [block for block in code_blocks(README, "python") if block.startswith("@pytest.mark")]
    gates = registered_gates()
    exec(block + "def test(): pass", {"pytest": pytest})
    marks = [eval(line.removeprefix("@"), {"pytest": pytest}).mark for line in block.splitlines()]
    assert [gates[mark.name].expectation(mark.args, dict(mark.kwargs)) is not None for mark in marks] == [True] * 5


def test_the_page_of_options_lists_every_option():
    flags = {f"--{name.replace('_', '-')}" for name in OPTION_NAMES if OPTION_NAMES[name]}
    missing = [name for name in OPTION_NAMES if f"`{name}`" not in DOCS["options.md"]]
    missing += [flag for flag in flags if flag not in DOCS["options.md"]]
    assert missing == []


def test_the_tables_of_the_page_of_options_are_read_as_it_says(tmp_path):
    (block,) = code_blocks(DOCS["options.md"], "toml")
    (tmp_path / "pyproject.toml").write_text(block, encoding="utf-8")
    tables = read_configuration(tmp_path, registered_gates())
    assert tables.gates("gpt2") == {"expect_hierarchy": {"coverage": ">=95%"}, "expect_accuracy": {}}
    assert tables.gates("bert-base") == {"expect_accuracy": {"seeds": 5, "atol": 1e-4}}
    assert (tables.target("bert-base"), tables.target("gpt2")) == ("opset23", None)


def test_the_page_of_model_cases_is_green(project):
    blocks = "\n\n".join(code_blocks(DOCS["model_cases.md"], "python"))
    project.file("test_cases.py", blocks).run().outcomes(passed=5)


def test_every_page_is_in_the_site_once_and_every_link_leads_to_a_page():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"^ +- (?:[^:\n]+: )?(\w+\.md)$", site, flags=re.MULTILINE)
    assert sorted(listed) == sorted(DOCS)
    for name, text in [("../README.md", README), ("../CONTRIBUTING.md", CONTRIBUTING), *DOCS.items()]:
        for target in re.findall(
            r"\]\((?!https?:)([\w./-]+)(?:#[\w-]+)?\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        ):
            assert (ROOT / "docs" / name).parent.joinpath(target).is_file(), f"{name} links {target}"


def test_the_readme_is_one_page():
    assert len(README.splitlines()) <= 130


def test_the_plain_function_of_the_page_of_markers_checks_and_raises_nothing(capsys):
    (block,) = [block for block in code_blocks(DOCS["markers.md"], "python") if "import check_export" in block]
    exec(block, {})
    assert capsys.readouterr().out == "3\n"


def test_the_page_of_fears_names_every_marker_and_what_it_shows_can_be_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("old.pt", "reference.npz"):
        (tmp_path / name).touch()
    page = DOCS["which_marker.md"]
    (block,) = code_blocks(page, "python")
    exec(block, {"pytest": pytest, "ModelCase": ModelCase, "build": object, "inputs": object})
    gates = registered_gates()
    shown = re.findall(r"`(expect_\w+)\(([^`]*)\)`", page)
    assert {name for name, _ in shown} == set(gates)
    for name, arguments in shown:
        args, kwargs = eval(f"(lambda *a, **k: (a, k))({arguments.replace('...', 'None')})")
        if "..." not in arguments:
            gates[name].expectation(args, kwargs, ())
