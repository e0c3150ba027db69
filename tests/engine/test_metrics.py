"""Metrics against scikit-learn, and their corners."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score, roc_curve

from opsin.engine.metrics.froc import SlideDetections, froc, lesions, matched
from opsin.engine.metrics.kappa import quadratic_kappa
from opsin.engine.metrics.roc import at_threshold, auc, auc_interval, curve, curve_band, full_sensitivity
from opsin.engine.metrics.segmentation import Overlap


@pytest.mark.parametrize("seed", range(5))
def test_area_and_curve_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 2, 60), rng.integers(0, 15, 60) / 14
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    false, true, thresholds = curve(labels, scores)
    expected = roc_curve(labels, scores, drop_intermediate=False)
    for ours, theirs in zip((false, true, thresholds), expected):
        np.testing.assert_allclose(ours, theirs)
    low, high = auc_interval(labels, scores, 200)
    assert low <= auc(labels, scores) <= high


def test_full_sensitivity_names_the_slide_and_counts_ties_against_the_method():
    labels, scores = [1, 1, 0, 0, 0], [0.9, 0.4, 0.4, 0.3, 0.1]
    point = full_sensitivity(labels, scores)
    assert point.threshold == 0.4 and point.setter == 1 and point.specificity == pytest.approx(2 / 3)
    found = at_threshold(labels, scores, point.threshold)
    assert found["sensitivity"] == 1 and found["false positives"] == 1


@pytest.mark.parametrize("labels", [[1, 1], [0, 0]])
def test_without_both_classes_nothing_is_claimed(labels):
    assert auc(labels, [0.1, 0.2]) is None and full_sensitivity(labels, [0.1, 0.2]) is None
    assert auc_interval(labels, [0.1, 0.2]) is None


def test_one_slide_of_a_kind_gives_no_interval():
    """Resampled from one, all samples are alike: the interval would claim that the area is certain."""
    for labels in ([1, 0], [1, 0, 0], [1, 1, 0]):
        scores = [0.9, 0.2, 0.1][: len(labels)]
        assert auc(labels, scores) == 1.0
        assert auc_interval(labels, scores) is None and curve_band(labels, scores) is None
    assert auc_interval([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1]) == (1.0, 1.0)


def test_overlap_is_pooled_and_leaves_out_what_does_not_count():
    overlap = Overlap()
    a, b = np.array([[1, 1, 0, 0]], bool), np.array([[1, 0, 1, 0]], bool)
    overlap.add(a, b)
    assert overlap.dice == 0.5 and overlap.iou == pytest.approx(1 / 3)
    overlap.add(a, b, np.array([[1, 0, 0, 1]], bool))
    assert overlap.dice == pytest.approx(4 / 6)
    assert Overlap().dice is None


def test_kappa_equals_scikit_learn():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 80), rng.integers(0, 5, 80)
    assert quadratic_kappa(a, b, 5) == pytest.approx(cohen_kappa_score(a, b, weights="quadratic", labels=range(5)))


def test_froc_counts_lesions_once_and_leaves_itc_out():
    mask = np.zeros((400, 400), bool)
    mask[50:250, 50:250] = True
    mask[340:344, 340:344] = True
    found, small = lesions(mask, 2.0)
    assert found.max() == 2 and len(small) == 1
    points = [(100, 100), (120, 120), (342, 342), (5, 395)]
    slide = matched(points, [0.9, 0.8, 0.95, 0.5], found, small)
    assert slide.lesions == 1 and slide.hit.tolist()[2:] == [-1, 0]
    assert froc([slide]) == 1.0
    worse = SlideDetections(np.array([0.4, 0.9]), np.array([1, 0]), 2)
    assert froc([worse]) == pytest.approx((0 + 0 + 0.5 * 4) / 6)
