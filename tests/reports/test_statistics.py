"""Intervals cover as often as they say, and equal runs are not told apart more often than chance allows."""

import numpy as np
import pytest
from scipy import stats

from transformer_zoo.reports.statistics import half_width, paired


@pytest.mark.parametrize("n", [3, 5, 20])
def test_intervals_cover_the_truth(n: int) -> None:
    values = np.random.default_rng(0).normal(2.0, 0.3, size=(1000, n))
    covered = 0
    for row in values:
        half = half_width(row.tolist())
        assert half is not None
        covered += abs(row.mean() - 2.0) <= half
    assert 930 <= covered <= 970


@pytest.mark.parametrize("n", [3, 5, 20])
def test_equal_contestants_are_seldom_told_apart(n: int) -> None:
    draws = np.random.default_rng(1)
    shared = draws.normal(2.0, 1.0, size=(1000, n))  # what a seed does to both
    first, second = shared + draws.normal(0, 0.1, size=(1000, n)), shared + draws.normal(0, 0.1, size=(1000, n))
    apart = 0
    for one, other in zip(first, second, strict=True):
        difference = paired(dict(enumerate(one.tolist())), dict(enumerate(other.tolist())))
        assert difference is not None
        apart += difference.beyond_chance
    assert apart <= 70


def test_a_paired_difference_is_student_s() -> None:
    first, second = {0: 1.0, 1: 2.0, 2: 4.0}, {2: 4.5, 1: 2.1, 0: 1.3, 7: 9.0}
    difference = paired(first, second)
    assert difference is not None
    expected = stats.ttest_rel([1.3, 2.1, 4.5], [1.0, 2.0, 4.0]).confidence_interval(0.95)
    assert difference.n == 3
    assert (difference.mean - difference.half, difference.mean + difference.half) == pytest.approx((expected.low, expected.high))  # type: ignore[operator]


def test_a_single_pair_has_no_interval_and_strangers_no_difference() -> None:
    assert half_width([1.0]) is None
    difference = paired({0: 1.0}, {0: 2.0})
    assert difference is not None
    assert (difference.mean, difference.half, difference.beyond_chance) == (1.0, None, False)
    assert paired({0: 1.0}, {1: 2.0}) is None
