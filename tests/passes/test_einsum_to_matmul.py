from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from pytest_modelcheck.passes.einsum_to_matmul import EinsumToMatmul
from pytest_modelcheck.pipeline import run_pass
from pytest_modelcheck.shapes.equations import Equation, parse_equation
from tests.passes.fusing_checks import fires, in_function, in_subgraph, refuses
from tests.passes.rule_cases import RuleCase

PASS = EinsumToMatmul()
SIZES = {"b": 2, "h": 3, "i": 4, "j": 5, "d": 6, "k": 2, "e": 3}


def einsum(equation: str, *shapes: str, output: int | None = None, opset: int = 20) -> onnx.ModelProto:
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    shapes = shapes or tuple(",".join(str(SIZES[letter]) for letter in term) for term in terms)
    rank = output if output is not None else len(equation.replace(" ", "").partition("->")[2])
    inputs = ", ".join(f"float[{shape}] x{n}" for n, shape in enumerate(shapes))
    names = ", ".join(f"x{n}" for n in range(len(shapes)))
    dims = ",".join(f"o{n}" for n in range(rank))
    made = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : {opset}]>
        g ({inputs}) => (float[{dims}] y) {{ y = Einsum <equation = "{equation}"> ({names}) }}"""
    )
    made.graph.output[0].type.tensor_type.shape.SetInParent()  # the text of a scalar leaves it out
    onnx.checker.check_model(made, full_check=True)
    return made


@pytest.mark.parametrize(
    "equation",
    [
        "ij,jd->id",
        "ij,jd->di",
        "bhid,bhjd->bhij",
        "bihd,bjhd->bhij",
        "bhij,bjhd->bihd",
        "bid,hdk->bhik",
        "bij,bij->b",
        "bij,b->ij",
        "i,j->ij",
        "bi,bi->bi",
        "i,i->",
        "ij->ji",
        "bij->b",
        "ij->",
        "ij->ij",
        "ij,jd,de->ie",
        "bhid,bhjd,bhjk->bhik",
        "bi,bj,b->ij",
        "ij,jd",
    ],
)
def test_every_contraction_becomes_matrix_products(equation: str) -> None:
    counts = fires(PASS, einsum(equation, output=2 if "->" not in equation else None))

    assert set(counts) <= {"Identity", "MatMul", "ReduceSum", "Reshape", "Transpose"}


@pytest.mark.parametrize("shapes", [("2,3,4", "4,5"), ("3,4", "4,5")])
def test_an_ellipsis_stands_for_leading_axes(shapes: tuple[str, ...]) -> None:
    rank = len(shapes[0].split(","))

    assert fires(PASS, einsum("...ij,jd->...id", *shapes, output=rank))["MatMul"] == 1


def test_two_symbolic_axes_that_stay_in_place_are_copied() -> None:
    assert fires(PASS, einsum("bid,hdk->bihk", "b,s,6", "3,6,2"))["MatMul"] == 1


def test_below_opset_13_the_axes_of_a_sum_are_an_attribute() -> None:
    assert fires(PASS, einsum("bij,bj->b", opset=12))["ReduceSum"] == 1


def test_a_branch_of_an_if_is_expanded_too() -> None:
    assert fires(PASS, in_subgraph(einsum("ij,jd->id"))) == {"If": 1, "MatMul": 2}


def test_inside_a_function_the_ranks_are_those_of_its_call() -> None:
    assert fires(PASS, in_function(einsum("ij,jd->id"))) == {"MatMul": 1, "test.local:Body": 1}


def test_a_diagonal_is_refused() -> None:
    assert refuses(PASS, einsum("ii->i", "4,4")) == {"a letter occurs twice in one term"}


def test_sizes_that_may_differ_are_refused() -> None:
    assert refuses(PASS, einsum("ij,jd->id", "4,p", "q,5")) == {"the sizes of letter 'j' are not proven equal"}


def test_two_symbolic_axes_that_were_grouped_are_refused() -> None:
    assert refuses(PASS, einsum("bpqi,bri->bpqr", "b,p,q,4", "b,r,4")) == {
        "a Reshape would need two sizes that are not known"
    }


def test_a_refused_equation_leaves_nothing_behind() -> None:
    model = ir.from_proto(einsum("bpqi,bri->bpqr", "b,p,q,4", "b,r,4"))
    same, _ = run_pass(model, PASS)

    assert same is model
    assert [len(value.uses()) for value in model.graph.inputs] == [1, 1]


@pytest.mark.parametrize(
    ("text", "ranks", "expected"),
    [
        ("ij, jk -> ik", (2, 2), Equation(("ij", "jk"), "ik")),
        ("ij,jk", (2, 2), Equation(("ij", "jk"), "ik")),
        ("...i,i->...", (3, 1), Equation(("abi", "i"), "ab")),
        ("ij,jk->ik", (2, 3), "the equation does not fit its operands"),
    ],
)
def test_an_equation_is_read_with_its_ranks(text: str, ranks: tuple[int, ...], expected: Equation | str) -> None:
    assert parse_equation(text, ranks) == expected


CASES = (
    RuleCase(
        pass_=PASS,
        rule="einsum_to_matmul",
        fires=einsum("bhid,bhjd->bhij"),
        refused=einsum("ii->i", "4,4"),
        reason="a letter occurs twice in one term",
    ),
)
