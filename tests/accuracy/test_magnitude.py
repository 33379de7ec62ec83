"""What `rtol` multiplies: no element, mask or neighbour of another scale may widen the limit of the others."""

import ml_dtypes
import numpy as np
import pytest

from pytest_modelcheck.accuracy import Tolerance, compare
from pytest_modelcheck.accuracy.magnitude import allowed, magnitudes

DEFAULT = Tolerance(1e-5, 1e-5)
LOGITS = np.random.default_rng(0).normal(0, 5, (4, 8, 50)).astype(np.float32)
FINFO_MIN = float(np.finfo(np.float32).min)


def masked(value, where=np.s_[:, :, 30:], logits=LOGITS):
    array = logits.copy()
    array[where] = value
    return array


def passes(reference, candidate, **widths):
    return compare({"y": reference}, {"y": candidate}, **widths).passed


def shifted(array, by, but_for):
    candidate = array.copy()
    kept = candidate[but_for].copy()
    candidate += np.float32(by)
    candidate[but_for] = kept
    return candidate


MASKS = {
    "finfo.min": FINFO_MIN,
    "-1e9": -1e9,
    "-1e6": -1e6,
    "-1e4": -1e4,
    "1e30": 1e30,
    "-inf": -np.inf,
}


@pytest.mark.parametrize("value", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize(
    "where",
    [
        np.s_[:, :, 30:],  # a part of the vocabulary
        np.s_[:, 2:, :],  # most rows whole
        np.s_[0, 0, 0],  # one element
        np.s_[:, :, 1:],  # all of the vocabulary but one
        np.s_[3],  # a whole batch row
    ],
    ids=["columns", "rows", "one element", "all but one column", "a batch row"],
)
@pytest.mark.parametrize("widths", [{}, {"atol": 1e-5, "rtol": 1e-5}], ids=["default", "explicit"])
def test_masked_elements_widen_nothing_for_the_others(value, where, widths):
    reference = masked(value, where)
    assert passes(reference, reference.copy(), **widths)
    for by in (3.0, 1e-3):
        assert not passes(reference, shifted(reference, by, where), **widths)


@pytest.mark.parametrize("value", [v for v in MASKS.values() if np.isfinite(v)])
def test_a_masked_element_is_held_against_itself(value):
    reference = masked(value)
    within, beyond = reference.copy(), reference.copy()
    within[0, 0, 40] = np.float32(value * (1 - 8e-6))
    beyond[0, 0, 40] = np.float32(value * (1 - 2e-5))
    assert passes(reference, within)
    assert not passes(reference, beyond)


@pytest.mark.parametrize("value", [-1e4, -1e6, -1e9, FINFO_MIN / 4])
def test_an_additive_mask_and_sums_of_masks_are_masks_too(value):
    reference = LOGITS.copy()
    reference[:, :, 30:] += np.float32(value)
    reference[:, 5:, 20:] += np.float32(value)
    assert not passes(reference, shifted(reference, 0.01, np.s_[:, :, 20:]))


def test_two_kinds_of_masks_are_both_found():
    reference = masked(-1e9, np.s_[:, :, 40:])
    reference[:, :, 20:40] = -1e4
    assert magnitudes(reference, DEFAULT).largest == np.abs(LOGITS[:, :, :20]).max()


def test_logits_that_are_exactly_zero_beside_a_mask_are_held_to_atol():
    reference = masked(-1e9, logits=np.zeros_like(LOGITS))
    assert not passes(reference, shifted(reference, 1e-3, np.s_[:, :, 30:]))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_masks_of_other_dtypes(dtype):
    value = float(ml_dtypes.finfo(dtype).min)
    reference = masked(0.0).astype(dtype)
    reference[:, :, 30:] = value
    candidate = reference.copy()
    candidate[:, :, :30] += dtype(3.0)
    assert passes(reference, reference.copy())
    assert not passes(reference, candidate)


def test_a_chain_of_outliers_without_a_gap_widens_at_most_to_a_thousandth_of_what_is_typical():
    reference = LOGITS.copy()
    reference[0, 0, :8] = [60, 1e3, 2e4, 4e5, 8e6, 1e8, 3e9, 1e11]
    typical = float(np.median(np.abs(reference)))
    assert allowed(reference, DEFAULT)[1, 1, 1] <= 1e-3 * typical
    assert not passes(reference, shifted(reference, 0.01, np.s_[0, 0, :8]))


def boxes_and_scores(layout, scores=80):
    random = np.random.default_rng(1)
    boxes, classes = random.uniform(0, 640, (1, 4, 400)), random.uniform(0, 1, (1, scores, 400)) ** 4
    joined = np.concatenate([boxes, classes], axis=1).astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(joined, 1, layout))


@pytest.mark.parametrize("layout", [1, 2])
@pytest.mark.parametrize("scores", [1, 12, 80])
def test_scores_beside_boxes_are_held_against_scores_and_boxes_against_boxes(layout, scores):
    reference = boxes_and_scores(layout, scores)
    pick = (slice(None),) * layout
    rounding, wrong_score, wrong_box = (reference.copy() for _ in range(3))
    rounding[(*pick, slice(0, 4))] += np.float32(4e-3)  # 640 x 6e-6, on small coordinates as well
    wrong_score[(*pick, slice(4, None))] += np.float32(1e-3)
    wrong_box[(*pick, slice(0, 4))] += np.float32(0.02)
    assert passes(reference, rounding)
    assert not passes(reference, wrong_score)
    assert not passes(reference, wrong_box)


@pytest.mark.parametrize("scale", [0.5, 1.0, 30.0, 600.0, 1e5, 1e8])
@pytest.mark.parametrize("shape", [(7,), (1, 1000), (2, 128, 64), (1, 3, 32, 32), (40, 16)])
def test_an_output_of_one_scale_is_held_against_its_largest_element(scale, shape):
    for seed in range(20):
        reference = np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)
        largest = float(np.abs(reference).max())
        assert np.all(allowed(reference, DEFAULT) == max(1e-5, 1e-5 * largest))


def test_a_dead_channel_and_zeros_of_a_relu_are_held_against_the_whole():
    reference = np.maximum(np.random.default_rng(0).normal(0, 600, (2, 16, 64)), 0).astype(np.float32)
    reference[:, 3] = 0
    assert np.all(allowed(reference, DEFAULT) == pytest.approx(1e-5 * reference.max()))


@pytest.mark.parametrize("rtol", [0.0, 1e-6, 1e-5, 1e-3, 0.1])
def test_a_wide_rtol_reaches_ten_times_what_is_typical_and_zero_reaches_everything(rtol):
    reference = np.array([1.0] * 20 + [5e3], np.float32)
    limit = allowed(reference, Tolerance(0.0, rtol))[0]
    assert limit == pytest.approx(rtol * min(5e3, max(1e-3 / rtol, 10.0)) if rtol else 0.0)


def test_no_elements_and_no_finite_elements_have_no_magnitude():
    assert magnitudes(np.zeros((0, 3), np.float32), DEFAULT).largest == 0.0
    assert magnitudes(np.full(3, -np.inf, np.float32), DEFAULT).largest == 0.0


def test_integers_are_held_against_their_largest_magnitude_and_exactly():
    assert magnitudes(np.array([-7, 3]), None).largest == 7.0


def test_many_elements_are_looked_at_a_part_at_a_time(monkeypatch):
    reference = masked(-1e9)
    whole = allowed(reference, DEFAULT)
    monkeypatch.setattr("pytest_modelcheck.accuracy.magnitude.CHUNK", 97)
    assert np.array_equal(allowed(reference, DEFAULT), whole)
