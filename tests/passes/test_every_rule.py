"""Every rule of every pass fires, inside If, Loop and Scan too, and refuses with its reason what only looks right."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_modelcheck.passes import PASSES, TARGET_PASSES
from pytest_modelcheck.passes.fuse_gelu import FuseGelu
from tests.passes import (
    cases_cleanup_attention,
    cases_simplify_shape_chains,
    test_attention_operator,
    test_decompose_layernorm,
    test_einsum_to_matmul,
    test_eliminate_common_subexpressions,
    test_eliminate_identity_ops,
    test_eliminate_redundant_transposes,
    test_eliminations,
    test_fold_constants,
    test_freeze_dynamic_shapes,
    test_fuse_conv_batchnorm,
    test_fuse_conv_relu,
    test_fuse_gelu,
    test_fuse_layer_scale,
    test_fuse_layernorm,
    test_fuse_matmul_add,
    test_fuse_matmul_transpose,
    test_fuse_pad_conv,
    test_integer_products,
    test_nested_ops,
    test_settle,
    test_slices_to_split,
    test_transpose_regions,
    test_zero_states,
)
from tests.passes.fusing_checks import fires
from tests.passes.rule_cases import NEVER_REFUSED, PLACES, RuleCase, fires_inside, missing, outcome, rules_of

CASES: tuple[RuleCase, ...] = (
    *test_attention_operator.CASES,
    *cases_cleanup_attention.CASES,
    *test_decompose_layernorm.CASES,
    *test_einsum_to_matmul.CASES,
    *test_eliminate_common_subexpressions.CASES,
    *test_eliminate_identity_ops.CASES,
    *test_eliminate_redundant_transposes.CASES,
    *test_eliminations.CASES,
    *test_fold_constants.CASES,
    *test_freeze_dynamic_shapes.CASES,
    *test_fuse_conv_batchnorm.CASES,
    *test_fuse_conv_relu.CASES,
    *test_fuse_gelu.CASES,
    *test_fuse_layer_scale.CASES,
    *test_fuse_layernorm.CASES,
    *test_fuse_matmul_add.CASES,
    *test_fuse_matmul_transpose.CASES,
    *test_fuse_pad_conv.CASES,
    *test_integer_products.CASES,
    *test_nested_ops.CASES,
    *test_slices_to_split.CASES,
    *test_settle.CASES,
    *test_transpose_regions.CASES,
    *test_zero_states.CASES,
    *cases_simplify_shape_chains.CASES,
)
"""One line for each file of tests."""

CHECKS = ("check_tflite_ops",)
"""Passes that rewrite nothing."""


every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@every_case
def test_the_rule_fires(case: RuleCase) -> None:
    assert case.rule in outcome(case.pass_, case.fires, case.target).rules
    counts = fires(case.pass_, case.fires, target=case.target, size=case.size)
    assert case.counts is None or counts == case.counts


@every_case
@pytest.mark.parametrize("place", PLACES)
def test_the_rule_fires_inside_a_subgraph(case: RuleCase, place: str) -> None:
    model = PLACES[place](case.fires)
    fires_inside(case, model if case.nested is None else case.nested(model))


@every_case
def test_what_only_looks_right_is_refused_with_its_reason(case: RuleCase) -> None:
    if case.refused is None:
        assert (case.pass_.name, case.rule) in NEVER_REFUSED or case.variant
        return
    made = outcome(case.pass_, case.refused, case.refused_target or case.target)
    assert case.rule not in made.rules
    assert case.reason in {refusal.reason for refusal in made.refusals}


def test_every_rule_of_every_pass_has_its_cases() -> None:
    rewriting = [pass_ for pass_ in (*PASSES, *TARGET_PASSES) if pass_.name not in CHECKS]
    assert missing(rewriting, CASES) == []


def test_a_rule_without_a_case_is_named() -> None:
    gelu, erf = FuseGelu(), test_fuse_gelu.CASES[:1]
    assert missing([gelu], test_fuse_gelu.CASES) == []
    assert missing([gelu], erf) == [
        "fuse_gelu: no case fires rule 'Tanh'",
        "fuse_gelu: no case fires rule 'Sigmoid'",
        "fuse_gelu: no case is refused by rule 'Tanh' with its reason",
        "fuse_gelu: no case is refused by rule 'Sigmoid' with its reason",
    ]
    others = [test_fuse_gelu.CASES[0], test_fuse_gelu.CASES[2]]
    without_refusal = dataclasses.replace(erf[0], rule="Tanh", refused=None)
    assert missing([gelu], [*others, without_refusal]) == [
        "fuse_gelu: no case is refused by rule 'Tanh' with its reason"
    ]


def test_no_case_is_of_a_rule_that_no_pass_has() -> None:
    assert [case.name for case in CASES if case.rule not in rules_of(case.pass_)] == []
