"""What a marker asks of one output in place of a tolerance: figures on both sides of their bounds, and usage errors."""

import numpy as np
import pytest

from pytest_modelcheck.accuracy.comparison import compare_within
from pytest_modelcheck.accuracy.output import OutputStatus
from pytest_modelcheck.accuracy.output_metrics import read_metric
from pytest_modelcheck.accuracy.tolerance import Tolerances
from pytest_modelcheck.errors import OptionError

X = np.array([[1.0, 2.0, 3.0], [6.0, 5.0, 4.0], [0.0, 1.0, 0.5], [2.0, 0.0, 1.0]], dtype=np.float32)


def returns_text(reference, candidate):
    return "good"


def is_close(reference, candidate):
    return bool(np.allclose(reference, candidate, atol=0.5))


def overlap(reference, candidate):
    return min(len(reference), len(candidate)) / max(len(reference), len(candidate))


def raises(reference, candidate):
    raise ZeroDivisionError("no boxes")


def judged(metric, candidate, reference=X):
    (output,) = compare_within({"y": reference}, {"y": candidate}, Tolerances(metric={"y": metric})).outputs
    return output


HERE = "tests.accuracy.test_output_metrics"
ONE_OFF = X.copy()
ONE_OFF[0, 0] += 0.25
TOP_MOVED = X.copy()
TOP_MOVED[0, 0] = 9.0


@pytest.mark.parametrize(
    ("metric", "candidate", "failure"),
    [
        ("cosine >= 0.999", ONE_OFF, ""),
        ("cosine >= 0.9999", ONE_OFF, "cosine 0.999684, expected >= 0.9999"),
        ("top1 >= 100%", ONE_OFF, ""),
        ("top1 >= 0.8", TOP_MOVED, "top1 0.75, expected >= 0.8"),
        ("match >= 91 %", ONE_OFF, ""),
        ("match >= 92 %", ONE_OFF, "match 91.6667 %, expected >= 92 %"),
        ("rows == 100 %", X[::-1], ""),
        ("rows >= 80%", X[:3], "rows 75 %, expected >= 80%"),
        ("rows >= 80%", np.concatenate([X[:3], X[:1]]), "rows 75 %, expected >= 80%"),
        (f"{HERE}:is_close", ONE_OFF, ""),
        (f"{HERE}:is_close", TOP_MOVED, f"{HERE}:is_close is False"),
        (f"{HERE}:overlap >= 0.7", X[:3], ""),
        (f"{HERE}:overlap >= 0.8", X[:3], f"{HERE}:overlap 0.75, expected >= 0.8"),
    ],
)
def test_a_figure_holds_or_says_what_it_is(metric, candidate, failure):
    output = judged(metric, candidate)
    assert (output.status is OutputStatus.EQUAL_ENOUGH, output.detail) == (not failure, failure)


def test_integers_match_where_they_are_equal():
    labels = np.arange(200)
    other = labels.copy()
    other[:3] += 1
    assert judged("match >= 98 %", other, labels).passed
    assert judged("match >= 99 %", other, labels).detail == "match 98.5 %, expected >= 99 %"


@pytest.mark.parametrize("metric", ["cosine >= -0.5", f"{HERE}:is_close", "match >= 1 %"])
def test_a_reference_of_nan_or_zeros_is_never_agreement(metric):
    assert judged(metric, X, np.full_like(X, np.nan)).status is OutputStatus.REFERENCE_NAN
    assert judged(metric, X, np.zeros_like(X)).status is OutputStatus.CONSTANT


def test_another_shape_fails_where_the_metric_needs_equal_ones():
    assert judged("cosine >= 0.9", X[:3]).status is OutputStatus.RESHAPED


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("", "metric '' cannot be read: write 'cosine >= 0.999', 'match >= 99 %' or 'module:function'"),
        ("cosin >= 1", "metric 'cosin' is unknown; choose one of cosine, top1, match, rows, or name a function"),
        ("cosine", "metric 'cosine' has no bound: write 'cosine >= 0.99'"),
        ("cosine >= 2", "metric 'cosine >= 2': bound '>= 2' never holds"),
        ("match >= 0 %", "metric 'match >= 0 %': bound '>= 0 %' always holds"),
        ("no_such_module:iou", "metric 'no_such_module:iou': cannot import no_such_module:iou: ModuleNotFoundError"),
        (f"{HERE}:missing", "cannot import tests.accuracy.test_output_metrics:missing: AttributeError"),
        (f"{HERE}:HERE", "tests.accuracy.test_output_metrics:HERE is a str, not a function"),
    ],
)
def test_a_metric_that_cannot_be_used_is_refused_by_name(metric, message):
    with pytest.raises(OptionError) as caught:
        read_metric(metric)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("raises", "of output 'y' raised ZeroDivisionError: no boxes"),
        ("returns_text", "of output 'y' returned a str, not True or False; compare it with a number"),
    ],
)
def test_a_function_that_cannot_judge_is_named(function, message):
    with pytest.raises(OptionError) as caught:
        judged(f"{HERE}:{function}", X)
    assert message in str(caught.value)


# -- positions outside a mask -----------------------------------------------------------------------------------------


def test_positions_outside_the_mask_are_left_out_of_every_output_that_has_them():
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    hidden = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    changed = hidden.copy()
    changed[0, 2] = changed[1, 1] = 99
    pooled = np.array([[1.0], [2.0]], dtype=np.float32)
    left, right = {"hidden": hidden, "pooled": pooled}, {"hidden": changed, "pooled": pooled}
    tolerances = Tolerances(valid="mask").at({"mask": mask})
    assert compare_within(left, right, tolerances).passed
    changed[1, 0, 0] += 1
    comparison = compare_within(left, right, tolerances)
    assert [(output.name, output.passed) for output in comparison.outputs] == [("hidden", False), ("pooled", True)]


def test_positions_of_a_cache_are_its_third_axis():
    tolerances = Tolerances(valid="mask").at({"mask": np.array([[0, 1, 1], [1, 1, 1]])})
    cache = np.arange(1, 49, dtype=np.float32).reshape(2, 2, 3, 4)
    changed = cache.copy()
    changed[0, :, 0] = 99
    assert compare_within({"key": cache}, {"key": changed}, tolerances).passed
    changed[1, 0, 0, 0] += 1
    assert not compare_within({"key": cache}, {"key": changed}, tolerances).passed


def test_a_mask_that_fits_no_output_or_is_no_input_is_refused():
    with pytest.raises(OptionError, match=r"valid='mask' is no input; there is 'ids'"):
        Tolerances(valid="mask").at({"ids": X})
    tolerances = Tolerances(valid="mask").at({"mask": np.ones((2, 3))})
    with pytest.raises(OptionError, match=r"shape \[2, 3\], with which no output begins: 'y' \[4, 3\]"):
        compare_within({"y": X}, {"y": X}, tolerances)
