"""Intervals cover as often as they say, and equal contestants are not told apart more often than the nominal rate."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from transformer_zoo.reports.statistics import ALPHA, Array, bootstrap_t, estimate, hedges, holm, paired, student

METHODS = {3: student, 5: student, 20: bootstrap_t}
"""What is used for so many values."""
DRAWS: dict[str, tuple[Callable[[np.random.Generator, tuple[int, int]], Array], float]] = {
    "normal": (lambda draws, shape: draws.normal(2.0, 0.3, shape), 2.0),
    "exponential": (lambda draws, shape: draws.exponential(1.0, shape), 1.0),
    "gamma": (lambda draws, shape: draws.gamma(2.0, 1.0, shape), 2.0),
}


def in_parts(samples: Array, n: int) -> tuple[Array, Array, Array]:
    """low, high, p of many rows, in parts that need little memory."""
    parts = [METHODS[n](part) for part in np.array_split(samples, max(1, len(samples) // 250))]
    low, high, p = (np.concatenate(column) for column in zip(*parts, strict=True))
    return low, high, p


@pytest.mark.parametrize(("n", "kind"), [(3, "normal"), (5, "normal"), (20, "normal"), (20, "exponential"), (20, "gamma")])
def test_intervals_cover_the_truth(n: int, kind: str) -> None:
    draw, truth = DRAWS[kind]
    low, high, p = in_parts(draw(np.random.default_rng(0), (1000, n)) - truth, n)
    covered = (low <= 0) & (high >= 0)
    assert 0.93 <= covered.mean() <= 0.97
    assert np.array_equal(covered, p > ALPHA), "p-values and intervals say the same"


def test_student_alone_would_not_cover_skewed_means() -> None:
    draw, truth = DRAWS["exponential"]
    low, high, _ = student(draw(np.random.default_rng(0), (1000, 20)) - truth)
    assert ((low <= 0) & (high >= 0)).mean() < 0.93


@pytest.mark.parametrize("n", [3, 5, 20])
def test_equal_contestants_are_told_apart_no_more_often_than_the_nominal_rate(n: int) -> None:
    """A table of five contestants in two metrics: how often any of its eight comparisons with the baseline is called a difference."""
    draws, tables = np.random.default_rng(1), 500
    seed_effect = draws.normal(2.0, 1.0, size=(tables, 2, 1, n))  # what a seed does to all contestants
    values = seed_effect + draws.normal(0, 0.1, size=(tables, 2, 5, n))
    differences = (values[:, :, 1:] - values[:, :, :1]).reshape(-1, n)
    p = in_parts(differences, n)[2].reshape(tables, 8)
    apart = [min(one for one in holm(row) if one is not None) <= ALPHA for row in p.tolist()]
    alone = (p <= ALPHA).any(1)
    assert np.mean(apart) <= ALPHA
    assert alone.mean() > 2 * ALPHA, "without the adjustment it would be far more often"


def test_the_functions_use_the_methods_that_were_simulated() -> None:
    draws = np.random.default_rng(2)
    for n, method in ((3, "t"), (19, "t"), (20, "bootstrap")):
        values = draws.exponential(1.0, n)
        found = estimate(values.tolist())
        low, high, _ = (bootstrap_t if n >= 20 else student)(values[None])
        assert (found.n, found.method) == (n, method)
        assert (found.low, found.high) == (pytest.approx(low[0]), pytest.approx(high[0]))
        assert (found.mean, found.deviation) == (pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)))
        shuffled = estimate(draws.permutation(values).tolist())
        assert (shuffled.low, shuffled.high) == (pytest.approx(found.low), pytest.approx(found.high)), "the order of runs makes no difference"


def test_a_paired_difference_is_student_s() -> None:
    first, second = {0: 1.0, 1: 2.0, 2: 4.0}, {2: 4.5, 1: 2.1, 0: 1.3, 7: 9.0}
    found = paired(first, second)
    assert found is not None
    expected = stats.ttest_rel([1.3, 2.1, 4.5], [1.0, 2.0, 4.0])
    interval = expected.confidence_interval(0.95)
    assert (found.n, found.unpaired, found.method) == (3, 1, "t")
    assert (found.low, found.high, found.p) == (pytest.approx(interval.low), pytest.approx(interval.high), pytest.approx(expected.pvalue))
    assert found.effect == pytest.approx(hedges(3) * 0.3 / 0.2)
    assert hedges(3) == pytest.approx(1 / math.sqrt(math.pi))
    assert hedges(1000) == pytest.approx(1 - 3 / (4 * 999 - 1), abs=1e-6)


def test_without_spread_nothing_is_claimed() -> None:
    assert estimate([]).n == 0
    assert math.isnan(estimate([]).mean)
    one = estimate([1.0])
    assert (one.deviation, one.low, one.method) == (None, None, "none")
    equal = estimate([0.7] * 4)
    assert (equal.deviation, equal.low, equal.high, equal.method) == (0.0, None, None, "none")
    assert estimate([1.0, math.nan]).low is None
    pair = paired({0: 1.0}, {0: 2.0})
    assert pair is not None
    assert (pair.mean, pair.low, pair.p, pair.beyond_chance) == (1.0, None, None, False)
    assert paired({0: 1.0}, {1: 2.0}) is None
    two = paired({0: 1.0, 1: 2.0}, {0: 1.1, 1: 2.3})
    assert two is not None
    assert two.effect is None, "two pairs tell nothing of it"


def test_equal_differences_are_judged_by_their_signs() -> None:
    """Student's t would call three differences of 0.1 infinitely certain."""
    first = {seed: 2.0 + seed for seed in range(6)}
    same = paired(first, dict(first))
    assert same is not None
    assert (same.mean, same.p, same.effect, same.deviation) == (0.0, 1.0, 0.0, 0.0)
    for n, p in ((3, 0.25), (6, 0.03125)):
        shifted = paired(first, {seed: first[seed] + 0.1 for seed in range(n)})  # equal up to rounding
        assert shifted is not None
        assert (shifted.p, shifted.low, shifted.effect, shifted.method) == (p, None, None, "signs")
        assert not shifted.beyond_chance


def test_few_different_values_have_student_s_interval() -> None:
    """Resamples that all miss the one different value leave the bootstrap without an end."""
    values = [1.0] * 19 + [2.0]
    assert not np.isfinite(bootstrap_t(np.asarray([values]))[0]).all() or estimate(values).method == "bootstrap"
    found = estimate(values)
    assert found.low is not None
    assert math.isfinite(found.low)


def test_holm_steps_down_and_leaves_out_what_is_not_known() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
