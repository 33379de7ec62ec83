"""`compare`: every way in which two mappings of outputs can differ, and both sides of each boundary."""

import math

import ml_dtypes
import numpy as np
import pytest

from pytest_modelcheck import Verdict
from pytest_modelcheck.accuracy import OutputStatus, compare
from pytest_modelcheck.accuracy.comparison import compare_within
from pytest_modelcheck.accuracy.tolerance import Tolerances
from pytest_modelcheck.errors import OptionError

REFERENCE = np.array([[1.0, -2.0, 3.0], [4.0, 5.0, -8.0]], np.float32)
TYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]


def compared(reference, candidate, atol=1e-5, rtol=1e-5, **kwargs):
    return compare({"y": np.asarray(reference)}, {"y": np.asarray(candidate)}, atol=atol, rtol=rtol, **kwargs)


def status_of(comparison):
    return [output.status for output in comparison.outputs]


@pytest.mark.parametrize("dtype", TYPES)
def test_equal_outputs_pass_with_a_difference_of_zero(dtype):
    comparison = compared(REFERENCE.astype(dtype), REFERENCE.astype(dtype))
    assert comparison.passed
    assert comparison.finding is None
    assert (comparison.max_abs, comparison.scaled) == (0.0, 0.0)


# -- the tolerance ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("difference", "atol", "rtol", "passes"),
    [
        (0.25, {"y": 0.25}, 0.0, True),
        (0.2500001, 0.25, 0.0, False),
        (0.5, 0.0, 0.0625, True),  # 0.0625 x 8, the largest magnitude, also where the element itself is 1
        (0.5000001, 0.0, 0.0625, False),
        (0.5, 0.25, 0.0625, True),  # the larger of the two counts, not their sum
        (0.75, 0.25, 0.0625, False),
        (0.0, 0.0, 0.0, True),
        (1e-30, 0.0, 0.0, False),
    ],
)
def test_the_limit_is_the_larger_of_atol_and_rtol_times_the_largest_magnitude(difference, atol, rtol, passes):
    reference = REFERENCE.astype(np.float64)
    reference[0, 0] = 0.0
    candidate = reference.copy()
    candidate[0, 0] += difference
    assert compared(reference, candidate, atol, rtol).passed is passes


def test_the_finding_prints_the_formula_with_its_numbers_the_place_and_both_values():
    candidate = REFERENCE.copy()
    candidate[1, 2] = -8.5
    comparison = compared(REFERENCE, candidate, 1e-5, 1e-4, model="m", context="optimized against exported")
    assert comparison.finding.verdict is Verdict.FAIL
    text = comparison.finding.render()
    assert "output 'y' expected float32[2, 3]" in text
    assert "|difference| <= max(atol 1e-05, rtol 0.0001 x magnitude 8) = 0.0008" in text
    assert "max |difference| 0.5 (scaled 0.0625" in text
    assert "-8.5 instead of -8 at [1, 2], 16.7 % of 6 elements are over" in text
    assert "in m (optimized against exported)" in text
    assert comparison.max_abs == 0.5
    assert comparison.scaled == 0.0625


def test_a_scaled_model_fails_although_it_is_perfectly_correlated():
    comparison = compared(REFERENCE, 3 * REFERENCE)
    assert not comparison.passed
    assert comparison.outputs[0].metrics.cosine == pytest.approx(1.0)


def test_tolerances_may_differ_per_output_and_default_to_the_dtype():
    reference = {"a": REFERENCE, "b": REFERENCE.astype(np.float16)}
    candidate = {"a": REFERENCE + np.float32(0.1), "b": (REFERENCE + 0.015625).astype(np.float16)}
    assert not compare(reference, candidate).passed
    assert compare(reference, candidate, atol={"a": 0.11}).passed
    assert not compare(reference, candidate, atol={"a": 0.11, "b": 0.01}, rtol=0.0).passed


@pytest.mark.parametrize("width", [-1e-5, math.nan, math.inf])
def test_a_tolerance_that_could_never_fail_or_never_pass_is_refused(width):
    with pytest.raises(OptionError, match="must be a finite number >= 0"):
        compared(REFERENCE, REFERENCE, width)


def test_a_tolerance_for_an_output_that_does_not_exist_is_refused():
    with pytest.raises(OptionError, match="tolerance for output 'logit', which does not exist; there is 'y'"):
        compared(REFERENCE, REFERENCE, {"logit": 1e-5})


# -- NaN and infinity ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    ("reference_nan", "candidate_nan", "status"),
    [
        (True, True, OutputStatus.REFERENCE_NAN),
        (True, False, OutputStatus.REFERENCE_NAN),
        (False, True, OutputStatus.CANDIDATE_NAN),
    ],
)
def test_a_nan_never_passes_whichever_side_it_is_on(dtype, reference_nan, candidate_nan, status):
    reference, candidate = REFERENCE.astype(dtype), REFERENCE.astype(dtype)
    if reference_nan:
        reference[0, 1] = np.nan
    if candidate_nan:
        candidate[0, 1] = np.nan
    comparison = compared(reference, candidate, 1e30, 1e30)
    assert status_of(comparison) == [status]
    assert comparison.finding.verdict is Verdict.FAIL
    assert math.isnan(comparison.max_abs)
    assert math.isnan(comparison.scaled)
    assert comparison.outputs[0].metrics.worst_index == (0, 1)


@pytest.mark.parametrize(
    ("reference", "candidate", "passes"),
    [
        ([1, np.inf], [1, np.inf], True),
        ([1, -np.inf], [1, -np.inf], True),
        ([1, np.inf], [1, -np.inf], False),
        ([1, np.inf], [1, 3e38], False),
        ([1, 3e38], [1, np.inf], False),
        ([1, np.inf], [np.inf, 1], False),
        ([1, np.inf], [1.5, np.inf], False),
    ],
)
def test_infinities_must_be_at_the_same_place_with_the_same_sign(reference, candidate, passes):
    comparison = compared(np.array(reference, np.float32), np.array(candidate, np.float32))
    assert comparison.passed is passes


def test_an_infinity_on_one_side_is_named_with_its_place():
    comparison = compared(np.array([1, 2], np.float32), np.array([1, np.inf], np.float32))
    assert status_of(comparison) == [OutputStatus.INFINITE]
    assert "inf instead of 2 at [1]" in comparison.finding.render()
    assert comparison.max_abs == math.inf


@pytest.mark.parametrize("dtype", TYPES)
def test_nan_at_equal_places_is_agreement_where_it_is_asked_for(dtype):
    asked = Tolerances(equal_nan=True)
    reference = REFERENCE.astype(dtype)
    reference[0, 1] = np.nan
    other_place, elsewhere, more = (reference.copy() for _ in range(3))
    other_place[0, 1], other_place[0, 0] = REFERENCE[0, 1], np.nan
    elsewhere[1, 1] = 7.0
    more[1, 1] = np.nan
    assert compare_within({"y": reference}, {"y": reference.copy()}, asked).passed
    for wrong in (other_place, elsewhere, more, REFERENCE.astype(dtype)):
        assert not compare_within({"y": reference}, {"y": wrong}, asked).passed
    finding = compare_within({"y": reference}, {"y": reference}, Tolerances()).finding
    assert "expect_accuracy(equal_nan=True) takes it for agreement" in finding.next


def test_an_output_of_nothing_but_nan_measures_nothing():
    array = np.full(4, np.nan, np.float32)
    assert compare_within({"y": array}, {"y": array}, Tolerances(equal_nan=True)).finding.verdict is Verdict.ERROR


# -- names, types, shapes -----------------------------------------------------------------------------------------


def test_a_missing_output_fails_and_what_is_there_is_listed():
    comparison = compare({"a": REFERENCE, "b": REFERENCE}, {"a": REFERENCE})
    assert status_of(comparison) == [OutputStatus.EQUAL_ENOUGH, OutputStatus.MISSING]
    assert "missing; the candidate has 'a'" in comparison.finding.render()
    assert math.isnan(comparison.max_abs)


def test_an_extra_output_fails():
    comparison = compare({"a": REFERENCE}, {"a": REFERENCE, "b": REFERENCE})
    assert status_of(comparison) == [OutputStatus.EQUAL_ENOUGH, OutputStatus.EXTRA]
    assert "output 'b' expected no such output" in comparison.finding.render()


def test_a_renamed_output_fails_and_the_new_name_is_suggested():
    comparison = compare({"logits": REFERENCE}, {"logits_1": REFERENCE})
    assert status_of(comparison) == [OutputStatus.MISSING, OutputStatus.EXTRA]
    assert "renamed to 'logits_1'?" in comparison.finding.render()


def test_swapped_outputs_fail_even_where_their_values_are_equal():
    comparison = compare({"a": REFERENCE, "b": REFERENCE}, {"b": REFERENCE, "a": REFERENCE})
    assert status_of(comparison) == [OutputStatus.REORDERED, OutputStatus.REORDERED]
    assert "at place 1 instead of 0" in comparison.finding.render()


def test_a_missing_output_does_not_make_the_others_reordered():
    reference = {"a": REFERENCE, "b": REFERENCE, "c": REFERENCE}
    comparison = compare(reference, {"b": REFERENCE, "c": REFERENCE})
    assert status_of(comparison) == [OutputStatus.MISSING, OutputStatus.EQUAL_ENOUGH, OutputStatus.EQUAL_ENOUGH]


def test_another_dtype_fails_although_the_values_are_equal():
    comparison = compared(REFERENCE, REFERENCE.astype(np.float64))
    assert status_of(comparison) == [OutputStatus.RETYPED]
    assert "float64 instead of float32" in comparison.finding.render()


@pytest.mark.parametrize("shape", [(3, 2), (1, 2, 3), (6,)])
def test_another_shape_fails_although_the_values_are_equal(shape):
    comparison = compared(REFERENCE, REFERENCE.reshape(shape))
    assert status_of(comparison) == [OutputStatus.RESHAPED]
    assert f"{list(shape)} instead of [2, 3]" in comparison.finding.render()


def test_a_shape_that_would_broadcast_fails():
    assert not compared(np.ones((2, 1), np.float32), np.ones((2, 2), np.float32)).passed
    assert not compared(np.float32(1.5), np.array([1.5], np.float32)).passed


def test_the_worst_output_heads_the_finding_and_the_others_are_listed():
    reference = {"a": REFERENCE, "b": REFERENCE, "c": REFERENCE}
    comparison = compare(reference, {"a": REFERENCE + np.float32(0.1), "b": REFERENCE + np.float32(2), "c": REFERENCE})
    assert comparison.finding.subject == "output 'b'"
    assert len(comparison.finding.where) == 2
    assert comparison.max_abs == 2.0


# -- exact types --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8, np.int8, np.bool_])
def test_integers_and_bools_are_exact_whatever_the_tolerance(dtype):
    reference = np.array([0, 1, 1, 0], dtype)
    candidate = np.array([0, 1, 0, 0], dtype)
    assert compared(reference, reference, 10.0, 10.0).passed
    comparison = compared(reference, candidate, 10.0, 10.0)
    assert status_of(comparison) == [OutputStatus.OVER_TOLERANCE]
    assert "0 instead of 1 at [2], 25 % of 4 elements are over (exact type)" in comparison.finding.render()


def test_integers_beyond_the_reach_of_float64_are_still_told_apart():
    reference = np.array([2**62, 1])
    comparison = compared(reference, reference + np.array([1, 0]))
    assert not comparison.passed
    assert comparison.max_abs == 1.0


def test_strings_are_exact():
    reference = np.array(["cat", "dog"], object)
    assert compared(reference, reference.copy()).passed
    comparison = compared(reference, np.array(["cat", "dot"], object))
    assert "'dot' instead of 'dog' at [1]" in comparison.finding.render()


def test_complex_values_are_compared_as_numbers_of_the_plane():
    reference = np.array([1 + 1j, 2 - 1j], np.complex64)
    assert compared(reference, reference).passed
    assert not compared(reference, reference.conj()).passed


# -- comparisons that would measure nothing -------------------------------------------------------------------------


def test_no_outputs_on_either_side_is_an_error():
    comparison = compare({}, {})
    assert not comparison.passed
    assert comparison.finding.verdict is Verdict.ERROR
    assert math.isnan(comparison.max_abs)


def test_no_outputs_of_the_candidate_is_a_failure():
    assert compare({"y": REFERENCE}, {}).finding.verdict is Verdict.FAIL


@pytest.mark.parametrize("value", [0.0, 1.0, -np.inf])
def test_a_constant_reference_is_an_error_because_nothing_was_measured(value):
    constant = np.full((2, 3), value, np.float32)
    comparison = compared(constant, constant)
    assert status_of(comparison) == [OutputStatus.CONSTANT]
    assert comparison.finding.verdict is Verdict.ERROR
    assert "empty comparison" in comparison.finding.render()


def test_a_constant_float_output_is_an_error_beside_good_ones_too():
    zeros = np.zeros(4, np.float32)
    comparison = compare({"a": REFERENCE, "head": zeros}, {"a": REFERENCE, "head": zeros})
    assert comparison.finding.verdict is Verdict.ERROR
    assert comparison.finding.subject == "output 'head'"


def test_a_constant_reference_that_the_candidate_leaves_is_a_failure_and_not_an_error():
    comparison = compared(np.zeros(4, np.float32), np.full(4, 0.5, np.float32))
    assert comparison.finding.verdict is Verdict.FAIL


@pytest.mark.parametrize("alone", [True, False])
def test_a_constant_mask_is_an_error_only_where_nothing_else_was_measured(alone):
    outputs = {"mask": np.ones(4, np.bool_)} | ({} if alone else {"y": REFERENCE})
    comparison = compare(outputs, outputs)
    assert comparison.passed is not alone
    assert not alone or comparison.finding.verdict is Verdict.ERROR


def test_a_single_element_is_measured_and_not_called_constant():
    for shape in ((), (1,), (1, 1)):
        array = np.full(shape, 2.5, np.float32)
        assert compared(array, array).passed
        assert not compared(array, array + np.float32(1)).passed


def test_outputs_without_elements_are_an_error_alone_and_fine_beside_others():
    empty = np.zeros((0, 4), np.float32)
    assert compared(empty, empty).finding.verdict is Verdict.ERROR
    both = {"boxes": empty, "y": REFERENCE}
    assert compare(both, both).passed
    assert not compare(both, both | {"boxes": np.zeros((1, 4), np.float32)}).passed


@pytest.mark.parametrize(
    ("magnitude", "atol", "fine"),
    [
        (1e-6, None, False),
        (1e-5, None, False),
        (1.1e-5, None, True),
        (1e-6, {"y": 1e-6}, False),
        (1e-6, {"y": 9e-7}, True),
    ],
)
def test_a_tolerance_that_all_zeros_would_meet_is_an_error_and_not_a_pass(magnitude, atol, fine):
    array = np.array([magnitude, -magnitude / 2], np.float32)
    comparison = compare({"y": array}, {"y": array}, atol=atol)
    assert comparison.passed is fine
    if not fine:
        assert comparison.finding.verdict is Verdict.ERROR
        assert "all zeros would pass" in comparison.finding.where[0]
        assert "Give this output a smaller tolerance" in comparison.finding.next


@pytest.mark.parametrize(
    ("atol", "rtol", "fine"),
    [(1e-5, 1e-5, False), (2e-6, 1e-5, True), (2.1e-6, 1e-5, False), (1e-5, 6e-4, True), ({"y": 1e-5}, 1e-5, True)],
)
def test_an_atol_for_all_outputs_that_hides_a_thousandth_of_one_is_an_error(atol, rtol, fine):
    probabilities = np.array([2e-3, 1e-3, -5e-4], np.float32)
    comparison = compared(probabilities, probabilities, atol, rtol)
    assert comparison.passed is fine
    if not fine:
        assert comparison.finding.verdict is Verdict.ERROR
        assert f"atol {atol:g} hides a change of 0.1 % of this output, whose largest magnitude is 0.002" in str(
            comparison.finding.where
        )


@pytest.mark.parametrize(
    ("magnitude", "limit"), [(100.0, 1e-3), (1.0, 1e-5), (0.01, 1e-5), (0.002, 2e-6), (2e-5, 2e-8)]
)
def test_the_default_atol_sees_a_thousandth_of_every_output(magnitude, limit):
    reference = np.array([magnitude, -magnitude / 3], np.float64).astype(np.float32)
    inside, outside = reference.copy(), reference.copy()
    inside[1] += 0.9 * limit
    outside[1] += 1.1 * limit
    assert compare({"y": reference}, {"y": inside}).passed
    assert not compare({"y": reference}, {"y": outside}).passed


def test_an_output_without_a_finite_element_is_an_error():
    array = np.array([np.inf, -np.inf], np.float32)
    assert compare({"y": array}, {"y": array}).finding.verdict is Verdict.ERROR
