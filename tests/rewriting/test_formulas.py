"""What a formula matches, and what it must not."""

from __future__ import annotations

import dataclasses

import onnx_ir as ir
import pytest

from pytest_modelcheck.rewriting.formulas import AnyOf, Match, Num, Op, Pattern, Product, Scalar, Var
from pytest_modelcheck.rewriting.rewriter import Rewriter
from pytest_modelcheck.rewriting.rules import Rule, apply

HEADER = """<ir_version: 10, opset_import: ["": 18]>
g (float[2, 3] x, float[2, 3] z) => (float[2, 3] y)
<float half = {0.5}, float[1, 1, 1] half3 = {0.5}, float two = {2.0}, float three = {3.0}, float minus = {-0.5}> """

x, z = Var("x"), Var("z")


def graph(body: str, header: str = HEADER) -> ir.Graph:
    return ir.from_onnx_text(f"{header} {{ {body} }}").graph


def matches(pattern: Pattern, body: str, header: str = HEADER) -> list[dict[str, str | None]]:
    """The variables of every match at the output, as the names of their values."""
    found = pattern.find(graph(body, header).outputs[0], Match())
    return [{name: value.name for name, value in match.values.items()} for match in found]


@pytest.mark.parametrize(
    "body",
    [
        "a = Mul(x, half) b = Mul(z, z) y = Mul(a, b)",
        "a = Mul(z, x) b = Mul(a, z) y = Mul(half, b)",
        "a = Pow(z, two) b = Mul(a, x) y = Div(b, two)",
        "a = Reciprocal(z) b = Div(x, a) c = Mul(b, z) y = Mul(c, half)",
    ],
)
def test_a_product_is_found_in_any_order_and_association(body):
    assert {"x": "x", "z": "z"} in matches(Product(0.5, {x: 1, z: 2}), body)


@pytest.mark.parametrize(
    "body",
    [
        "a = Mul(x, half) y = Mul(a, z)",
        "a = Mul(x, z) b = Mul(a, z) y = Mul(b, two)",
        "a = Pow(z, three) b = Mul(a, x) y = Mul(b, half)",
        "a = Mul(x, half) b = Mul(z, z) y = Add(a, b)",
    ],
)
def test_another_power_coefficient_or_operator_is_not_that_product(body):
    assert {"x": "x", "z": "z"} not in matches(Product(0.5, {x: 1, z: 2}), body)


def test_a_variable_may_be_what_a_product_made():
    assert {"x": "a"} in matches(Product(0.5, {x: 1}), "a = Mul(x, z) y = Mul(a, half)")


@pytest.mark.parametrize(
    "body",
    [
        "s = Sqrt(z) y = Div(x, s)",
        "s = Sqrt(z) r = Reciprocal(s) y = Mul(r, x)",
        "p = Pow(z, minus) y = Mul(x, p)",
    ],
)
def test_a_root_is_a_power(body):
    assert {"x": "x", "z": "z"} in matches(Product(1, {x: 1, z: -0.5}), body)


def test_the_root_of_a_square_is_not_the_value_itself():
    assert matches(Product(1, {x: 1}), "q = Mul(x, x) y = Sqrt(q)") == [{"x": "y"}]


def test_integers_are_not_multiplied_out_because_their_quotient_rounds():
    header = """<ir_version: 10, opset_import: ["": 18]> g (int32[2] x) => (int32[2] y) <int32 two = {2}>"""
    assert matches(Product(0.5, {x: 1}), "y = Div(x, two)", header) == []


def test_a_number_that_raises_the_rank_is_no_coefficient_and_no_summand():
    assert matches(Product(0.5, {x: 1}), "y = Mul(x, half)") == [{"x": "x"}]
    assert matches(Product(0.5, {x: 1}), "y = Mul(x, half3)") == []
    assert matches(x + Num(0.5), "y = Add(x, half)") == [{"x": "x"}]
    assert matches(x + Num(0.5), "y = Add(half, x)") == [{"x": "x"}]
    assert matches(x + Num(0.5), "y = Add(x, half3)") == []
    assert matches(x + Scalar("epsilon"), "y = Add(x, half3)") == []


def test_one_variable_is_one_value():
    assert matches(Op("Sub", x, Op("Neg", x)), "n = Neg(x) y = Sub(x, n)") == [{"x": "x"}]
    assert matches(Op("Sub", x, Op("Neg", x)), "n = Neg(z) y = Sub(x, n)") == []


def test_only_commutative_operators_have_no_order():
    assert matches(Op("Mul", Op("Neg", x), z), "n = Neg(x) y = Mul(z, n)") == [{"x": "x", "z": "z"}]
    assert matches(Op("Sub", Op("Neg", x), z), "n = Neg(x) y = Sub(z, n)") == []


def test_an_operator_of_another_domain_is_another_operator():
    header = HEADER.replace('"": 18', '"": 18, "mine": 1')
    assert matches(Op("Neg", x), "y = mine.Neg(x)", header) == []


def test_of_several_formulas_the_first_ones_come_first():
    body = "a = Neg(x) y = Add(a, z)"
    found = matches(AnyOf(Op("Neg", x) + z, x + z), body)
    assert found[0] == {"x": "x", "z": "z"}
    assert {"x": "a", "z": "z"} in found


NEGATIONS = Op("Neg", x)
SUM = NEGATIONS + z


def subtract(rewriter: Rewriter, match: Match) -> list[ir.Node]:
    return [rewriter.node("Sub", [match.values["z"], match.values["x"]], like=match.result)]


RULE = Rule(name="subtract", formula=SUM, anchor=NEGATIONS, reach=1, called="difference", makes=subtract)


RULE_AROUND_THE_SUM = dataclasses.replace(RULE, anchor=SUM, reach=0)


def applied(body: str, rule: Rule = RULE, header: str = HEADER, **options) -> tuple[list[str], list[str]]:
    """The operators after `rule`, and why it was refused."""
    model = ir.from_onnx_text(f"{header} {{ {body} }}")
    rewriter = Rewriter(model, pass_name="subtract", target="portable", **options)
    apply(rewriter, [rule])
    return [node.op_type for node in model.graph], [refusal.reason for refusal in rewriter.refusals]


def test_a_match_is_replaced():
    assert applied("n = Neg(x) y = Add(n, z)") == (["Sub"], [])


def test_what_is_no_match_is_no_refusal():
    assert applied("n = Neg(x) y = Mul(n, z)") == (["Neg", "Mul"], [])


def test_a_value_inside_that_something_else_reads_is_refused():
    operators, reasons = applied("n = Neg(x) a = Add(n, z) y = Mul(a, n)")
    assert operators == ["Neg", "Add", "Mul"]
    assert reasons == ["a value inside the difference is read by something else"]


def test_without_a_name_for_the_formula_the_value_is_named():
    nameless = dataclasses.replace(RULE, called="")
    assert applied("n = Neg(x) a = Add(n, z) y = Mul(a, n)", nameless)[1] == ["the Neg output is used 2 times"]
    header = HEADER.replace("y)", "y, float[2, 3] n)")
    assert applied("n = Neg(x) y = Add(n, z)", nameless, header)[1] == ["the Neg output is a graph output"]


def test_a_value_of_the_scope_around_is_not_moved_into_a_subgraph():
    header = HEADER.replace("float[2, 3] z)", "float[2, 3] z, bool c)")
    branch = "{name} = g () => (float[2, 3] r_{name}) {{ r_{name} = {operator} }}"
    body = f"""n = Neg(x) y = If (c) <{branch.format(name="then_branch", operator="Add(n, z)")},
        {branch.format(name="else_branch", operator="Relu(z)")}>"""
    assert applied(body, RULE_AROUND_THE_SUM, header) == (["Neg", "If"], ["the Neg output is read in a subgraph"])


def test_a_guard_and_what_cannot_be_made_are_reasons():
    guarded = Rule(
        name="subtract",
        formula=SUM,
        anchor=NEGATIONS,
        reach=1,
        called="difference",
        fits=lambda rewriter, match: "not today",
        makes=subtract,
    )
    assert applied("n = Neg(x) y = Add(n, z)", guarded) == (["Neg", "Add"], ["not today"])


def test_a_form_without_the_anchor_is_not_found_around_it():
    two_forms = dataclasses.replace(RULE, formula=AnyOf(SUM, Op("Sub", x, Op("Abs", z))))
    assert applied("n = Neg(x) a = Abs(z) y = Sub(n, a)", two_forms) == (["Neg", "Abs", "Sub"], [])


def test_a_limit_of_rewrites_holds():
    operators, _ = applied("n = Neg(x) a = Add(n, z) m = Neg(a) y = Add(m, z)", max_rewrites=1)
    assert operators == ["Sub", "Neg", "Add"]


def test_without_an_anchor_no_formula_is_looked_at(monkeypatch):
    monkeypatch.setattr(Pattern, "find", None)
    for pattern in (Op, Var, Num, Product):
        monkeypatch.setattr(pattern, "find", None)
    assert applied("a = Add(x, z) b = Mul(a, z) y = Add(a, b)") == (["Add", "Mul", "Add"], [])


@pytest.mark.parametrize("body", ["a = Neg(x) y = Sub(a, z)", "a = Relu(x) y = Add(a, z)"])
def test_where_an_operator_of_the_formula_is_missing_none_is_looked_at(monkeypatch, body):
    monkeypatch.setattr(Op, "find", None)
    assert applied(body, RULE_AROUND_THE_SUM)[1] == []


def test_a_formula_is_possible_where_one_of_its_forms_is():
    power = Product(1.0, {Var("n", NEGATIONS): 2})
    either = AnyOf(SUM, Op("Sub", power))
    assert either.possible({"Neg", "Add"})
    assert either.possible({"Neg", "Sub"})  # of what makes a product nothing is asked
    assert not either.possible({"Sub", "Add", "Mul"})
    assert (Num(1.0) + z).possible({"Add"})
