"""Confidence intervals over seeds: by hand, against scipy, and by how often they hold the true mean."""

import math

import numpy as np
import pytest
from errors import assert_one_line_error, case_name
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lttlib.intervals import Interval, mean_interval, paired_difference

values = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=12).filter(
    lambda x: np.std(x) > 0
)


def test_by_hand():  # mean 2, sd 1, t of 2 degrees of freedom at 97.5% = 4.3027, sqrt(3) = 1.7321
    assert mean_interval([1, 2, 3]) == pytest.approx((2, 2 - 2.48414, 2 + 2.48414), abs=1e-5)


def test_equal_values_leave_no_doubt():
    assert mean_interval([0.5, 0.5]) == (0.5, 0.5, 0.5)


@given(values, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_against_scipy(x, confidence):
    expected = stats.ttest_1samp(x, 0).confidence_interval(confidence)
    found = mean_interval(x, confidence)
    assert found.mean == pytest.approx(sum(x) / len(x))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_nineteen_of_twenty_intervals_hold_the_true_mean():
    draws = np.random.default_rng(0).normal(3, 2, (2000, 5))
    held = sum(low <= 3 <= high for _, low, high in map(mean_interval, draws))
    assert abs(held - 1900) < 4 * math.sqrt(2000 * 0.95 * 0.05)


@given(values)
def test_pairing_takes_the_seeds_away(b):
    noise = np.linspace(-1, 1, len(b))
    found = paired_difference(np.add(b, 10 + noise), b)  # b differs wildly between seeds, a - b does not
    expected = stats.ttest_rel(np.add(b, 10 + noise), b).confidence_interval()
    assert found == pytest.approx((10, expected.low, expected.high))


def test_shown_on_a_page():
    assert Interval(0.9482, 0.9341, 0.9623).shown() == "0.948 ± 0.014"
    assert Interval(0.9482, 0.9341, 0.9623).shown(1) == "0.9 ± 0.0"


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: mean_interval([1]), ("values", "(1,)", "two or more", "more seeds")),
        (lambda: mean_interval([]), ("values", "(0,)", "two or more", "more seeds")),
        (lambda: mean_interval([[1, 2], [3, 4]]), ("values", "(2, 2)", "two or more numbers")),
        (lambda: mean_interval([1, math.nan]), ("values", "NaN", "finite", "failed runs")),
        (lambda: mean_interval([1, 2], 1.5), ("confidence", "1.5")),
        (lambda: paired_difference([1, 2, 3], [1, 2]), ("b", "2 values", "3, one per seed", "pair")),
    ],
    ids=case_name,
)
def test_errors(call, words):
    assert_one_line_error(call, *words)
