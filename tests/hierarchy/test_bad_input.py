"""Names, wrappers and modules as people write them: each node has the right owner, or none."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import pytest
import torch
from torch import nn

from examples.zoo.jitter import jitter
from pytest_modelcheck.export import Exported, export
from pytest_modelcheck.hierarchy import HierarchyReport, hierarchy, hierarchy_of_model, module_table, parse, render
from pytest_modelcheck.hierarchy.scopes import NAME_SCOPES_KEY
from pytest_modelcheck.model_case import EXPORTERS, Exporter
from tests.structure_models import module_case


def inner() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))


def found_in(module: nn.Module, exporter: Exporter, *shapes: tuple[int, ...]) -> tuple[ir.Model, HierarchyReport]:
    made = export(module_case(jitter(module).eval(), *(shapes or ((2, 4),)), exporter=exporter))
    assert isinstance(made, Exported), made.render()
    return made.model, hierarchy(made)


def owners(model: ir.Model, report: HierarchyReport, op_type: str) -> list[str]:
    nodes = [node for node in model.graph if node.op_type == op_type]
    return [owner.path for node in nodes if (owner := report.owner(node.outputs[0].name or "")) is not None]


class SameNames(nn.Module):
    """`left.proj.fc` and `right.proj.fc`: equal names in two scopes, each behind a Sequential of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.ModuleDict({"proj": nn.Sequential(nn.Linear(4, 4), nn.ReLU())})
        self.right = nn.ModuleDict({"proj": nn.Sequential(nn.Linear(4, 4), nn.ReLU())})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left["proj"](x) - self.right["proj"](x)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_the_same_name_in_two_scopes_is_two_modules(exporter: Exporter) -> None:
    model, report = found_in(SameNames(), exporter)
    assert sorted(owners(model, report, "Gemm")) == ["left.proj.0", "right.proj.0"]
    assert sorted(owners(model, report, "Relu")) == ["left.proj.1", "right.proj.1"]
    assert report.modules_uncovered == ()


class Named(nn.Module):
    """Children under any names."""

    def __init__(self, *names: str) -> None:
        super().__init__()
        self.names = names
        for name in names:
            self.add_module(name, nn.Linear(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in self.names:
            x = getattr(self, name)(x)
        return x


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize(
    "names", [("a/b", "a", "b"), ("naïve", "α_β", "层"), ("x 1", "x@1", "x"), ("(y)", "[0-2]", "")]
)
def test_odd_names_keep_their_owners_apart(names: tuple[str, ...], exporter: Exporter) -> None:
    if "" in names:
        names = names[:-1]  # torch itself refuses an empty name
    model, report = found_in(Named(*names), exporter)
    assert owners(model, report, "Gemm") == list(names)
    table = module_table(model, report)
    assert parse(render(table)) == table


class Wrapper(nn.Module):
    """As nn.DataParallel on one device: everything it is given goes to `module`."""

    def __init__(self) -> None:
        super().__init__()
        self.module = inner()

    def forward(self, *args: torch.Tensor, **kwargs: torch.Tensor) -> torch.Tensor:
        return self.module(*args, **kwargs)


@pytest.mark.parametrize(
    ("build", "exporter"),
    [(Wrapper, "dynamo"), (Wrapper, "torchscript"), (lambda: nn.DataParallel(inner()), "dynamo")],
)  # torchscript itself refuses nn.DataParallel, and says so
def test_a_wrapper_is_one_more_level(build: Callable[[], nn.Module], exporter: Exporter) -> None:
    model, report = found_in(build(), exporter)
    assert owners(model, report, "Gemm") == ["module.0", "module.2"]
    assert report.coverage == 1.0


def test_a_compiled_model_is_refused_before_anything_could_be_attributed_to_it() -> None:
    made = export(module_case(torch.compile(jitter(inner()).eval()), (2, 4)))  # type: ignore[arg-type]
    assert not isinstance(made, Exported)
    assert made.reason == "build() returned the result of torch.compile"


class HoldsCompiled(nn.Module):
    """A plain module around a compiled one."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.fast = torch.compile(inner(), backend="eager")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.fast(x))


def test_a_compiled_part_owns_its_nodes_below_its_wrapper() -> None:
    model, report = found_in(HoldsCompiled(), "dynamo")
    assert owners(model, report, "Gemm") == ["fast._orig_mod.0", "fast._orig_mod.2", "head"]
    assert report.coverage == 1.0


class Functional(nn.Module):
    """A lambda, a functional call and an operator in the forward itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.act = lambda x: torch.sin(x) * 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.softmax(self.act(self.first(x)), -1) + 1


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_lambdas_and_functional_calls_belong_to_the_module_whose_forward_they_stand_in(exporter: Exporter) -> None:
    model, report = found_in(Functional(), exporter)
    for op_type in ("Sin", "Mul", "Softmax", "Add"):
        assert owners(model, report, op_type) == [""]
    assert report.kinds["direct"] == report.compute_nodes


class Never(nn.Module):
    """Holds a module that no call reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.never = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_module_that_is_never_called_is_neither_missed_nor_counted(exporter: Exporter) -> None:
    _, report = found_in(Never(), exporter)
    assert report.modules_ran == ("", "used")
    assert report.module_coverage == 1.0


def test_unnamed_nodes_and_duplicated_node_names_are_told_apart_by_their_values() -> None:
    text = """<ir_version: 10, opset_import: ["" : 18]>
    g (float[2] x) => (float[2] y) { a = Relu (x) b = Neg (a) y = Abs (b) }"""
    for names in (("", "", ""), ("n", "n", "n")):
        model = ir.from_onnx_text(text)
        for node, name, scope in zip(model.graph, names, ("one", "two", "three"), strict=True):
            node.name = name
            node.metadata_props[NAME_SCOPES_KEY] = repr(["", scope, "op"])
        report = hierarchy_of_model(model)
        assert {key: owner.path for key, owner in report.owners.items()} == {"a": "one", "b": "two", "y": "three"}
