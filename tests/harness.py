"""A pytest project on disk, run with the plugin: `project.gated("expect_ops(Gemm=2)").run().outcomes(passed=1)`."""

from __future__ import annotations

import json
import textwrap
from typing import Any

import pytest

PLUGINS = ("syrupy", "xdist.plugin", "pytest_modelcheck.plugin")
"""What entry points load in a run of its own process."""

MODEL = """
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Linear(3, 4)
            self.act = torch.nn.ReLU()
            self.last = torch.nn.Linear(4, 2)

        def forward(self, x):
            return self.last(self.act(self.first(x)))

    def build():
        return Net()

    def inputs(seed):
        return (torch.randn(2, 3),)
"""
"""Exported by torchscript: Gemm, Relu, Gemm; no pass finds anything to do."""

CONFTEST = """
    import pytest
    from pytest_modelcheck import ModelCase

    def build():
        import net
        return net.build()

    def inputs(seed):
        import net
        return net.inputs(seed)

    @pytest.fixture(scope="session")
    def model_case():
        return ModelCase("net", build, inputs, exporter="torchscript")
"""

UNBUILDABLE = """
    import pytest
    from pytest_modelcheck import ModelCase

    def build():
        raise AssertionError("build must not be called")

    @pytest.fixture(scope="session")
    def model_case():
        return ModelCase("net", build, lambda seed: (), exporter="torchscript")
"""


class Project:
    """Files of a pytest project; every method but `run` gives the project back."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self._ini: dict[str, str] = {}
        self.file("conftest.py", CONFTEST).file("net.py", MODEL)

    def file(self, name: str, text: str) -> Project:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return self

    def conftest(self, text: str) -> Project:
        return self.file("conftest.py", text)

    def model(self, text: str) -> Project:
        return self.file("net.py", text)

    def replace(self, name: str, old: str, new: str) -> Project:
        text = (self.path / name).read_text(encoding="utf-8")
        assert old in text, f"{old!r} is not in {name}"
        return self.file(name, text.replace(old, new))

    def test(self, text: str, name: str = "test_it.py") -> Project:
        return self.file(name, "import pytest\n" + textwrap.dedent(text))

    def gated(self, *markers: str, body: str = "pass", fixtures: str = "modelcheck") -> Project:
        """One test with these markers."""
        lines = [f"@pytest.mark.{marker}" for marker in markers]
        return self.test("\n".join([*lines, f"def test_net({fixtures}):", textwrap.indent(body, "    "), ""]))

    def ini(self, **options: str) -> Project:
        self._ini |= options
        lines = "\n".join(f"{name} = {value}" for name, value in self._ini.items())
        (self.path / "pytest.ini").write_text(f"[pytest]\npythonpath = .\n{lines}\n", encoding="utf-8")
        return self

    def run(self, *args: str, modelcheck: bool = True, subprocess: bool = False) -> Run:
        """Run pytest on the project."""
        self.ini()
        given = [*(["--modelcheck"] if modelcheck else []), "-p", "no:cacheprovider", *map(str, args)]
        if subprocess:
            return Run(self, self.pytester.runpytest_subprocess(*given))
        with pytest.MonkeyPatch.context() as patch:
            # Looking for entry points reads the file lists of all installed distributions: over a second per run.
            patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
            for plugin in PLUGINS:
                given += ["-p", plugin]
            return Run(self, self.pytester.runpytest_inprocess(*given))

    def files(self, folder: str = "snapshots") -> list[str]:
        """The files below a folder, relative to it, sorted."""
        root = self.path / folder
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    def report(self, name: str = "out.json") -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))


class Run:
    """What one run printed and how it ended; every method gives the run back."""

    def __init__(self, project: Project, result: pytest.RunResult) -> None:
        self.project = project
        self.result = result
        self.text = "\n".join([*result.outlines, *result.errlines])

    def outcomes(self, **expected: int) -> Run:
        """Exactly these outcomes, and the exit status that belongs to them."""
        found = self.result.parseoutcomes()
        found.pop("warnings", None)
        found.pop("warning", None)
        assert found == expected, self.text
        failed = expected.keys() & {"failed", "error", "errors"}
        assert self.result.ret == (1 if failed else 0), self.text
        return self.lacks("INTERNALERROR")

    def has(self, *texts: str) -> Run:
        """These texts stand in the output; lines of a text stand one below the other, indentation aside."""
        lines = [_bare(line) for line in self.text.splitlines()]
        for text in texts:
            wanted = [_bare(line) for line in textwrap.dedent(text).strip("\n").splitlines()]
            starts = range(len(lines) - len(wanted) + 1)
            here = any(all(w in line for w, line in zip(wanted, lines[i:], strict=False)) for i in starts)
            assert here, f"{text!r} is not in\n{self.text}"
        return self

    def lacks(self, *texts: str) -> Run:
        for text in texts:
            assert text not in self.text, f"{text!r} is in\n{self.text}"
        return self

    def bad_marker(self, *messages: str) -> Run:
        """The collection of a file failed with these lines; nothing of it ran."""
        assert self.result.ret in (1, 2), self.text
        assert "ERROR collecting test_" in self.text, self.text
        for message in messages:
            assert message in self.text, self.text
        return self.lacks("Traceback", "INTERNALERROR", "build must not be called")

    def usage_error(self, message: str) -> Run:
        """The run ended before any test, with this message and nothing like a traceback."""
        assert self.result.ret == 4, self.text
        assert f"ERROR: {message}" in self.text, self.text
        return self.lacks("Traceback", "INTERNALERROR", "build must not be called")


def _bare(line: str) -> str:
    return " ".join(line.removeprefix("E ").split())
