"""Intervals cover as often as they say, and equal contestants are not told apart more often than the nominal rate."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from transformer_zoo.reports.statistics import ALPHA, LEVEL, Array, bootstrap_t, estimate, hedges, holm, paired, sign_flips, student

DRAWS: dict[str, tuple[Callable[[np.random.Generator, tuple[int, int]], Array], float]] = {
    "normal": (lambda draws, shape: draws.normal(2.0, 0.3, shape), 2.0),
    "exponential": (lambda draws, shape: draws.exponential(1.0, shape), 1.0),
    "gamma": (lambda draws, shape: draws.gamma(2.0, 1.0, shape), 2.0),
}


def in_parts(samples: Array, n: int, level: float = LEVEL) -> tuple[Array, Array, Array]:
    """low, high, p of many rows, in parts that need little memory; what is used for so many values."""
    if n < 20:
        return student(samples, level)
    parts = [(*bootstrap_t(part, level), sign_flips(part)) for part in np.array_split(samples, max(1, len(samples) // 250))]
    low, high, p = (np.concatenate(column) for column in zip(*parts, strict=True))
    return low, high, p


@pytest.mark.parametrize(("n", "kind"), [(3, "normal"), (5, "normal"), (20, "normal"), (20, "exponential"), (20, "gamma")])
def test_intervals_cover_the_truth(n: int, kind: str) -> None:
    draw, truth = DRAWS[kind]
    low, high, _ = in_parts(draw(np.random.default_rng(0), (1000, n)) - truth, n)
    covered = (low <= 0) & (high >= 0)
    assert 0.93 <= covered.mean() <= 0.97


def test_student_alone_would_not_cover_skewed_means() -> None:
    draw, truth = DRAWS["exponential"]
    low, high, _ = student(draw(np.random.default_rng(0), (1000, 20)) - truth)
    assert ((low <= 0) & (high >= 0)).mean() < 0.93


@pytest.mark.parametrize(("n", "tables"), [(3, 4000), (5, 4000), (20, 1000)])
def test_equal_contestants_are_told_apart_no_more_often_than_the_nominal_rate(n: int, tables: int) -> None:
    """A table of five contestants in two metrics: how often any of its eight comparisons with the baseline is called a difference."""
    draws = np.random.default_rng(1)
    seed_effect = draws.normal(2.0, 1.0, size=(tables, 2, 1, n))  # what a seed does to all contestants
    values = seed_effect + draws.normal(0, 0.1, size=(tables, 2, 5, n))
    differences = (values[:, :, 1:] - values[:, :, :1]).reshape(-1, n)
    p = (student(differences)[2] if n < 20 else np.concatenate([sign_flips(part) for part in np.array_split(differences, 20)])).reshape(tables, 8)
    apart = [min(one for one in holm(row) if one is not None) <= ALPHA for row in p.tolist()]
    alone = (p <= ALPHA).any(1)
    assert np.mean(apart) <= ALPHA
    assert alone.mean() > 2 * ALPHA, "without the adjustment it would be far more often"


def test_sign_flips_are_the_exact_test_up_to_their_number() -> None:
    values = np.random.default_rng(4).normal(0.5, 1.0, size=12)
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * 12)).reshape(12, -1)
    exact = (np.abs(values @ signs) >= abs(values.sum()) - 1e-12).mean()
    assert 0.02 < exact < 0.5
    assert sign_flips(values[None])[0] == pytest.approx(exact, abs=0.01)
    found = paired(dict.fromkeys(range(24), 0.0), dict(enumerate([*values.tolist(), *(-values).tolist()])))
    assert found is not None
    assert found.p == 1.0, "as far to one side as to the other"


def test_zero_inside_the_interval_is_never_beyond_chance() -> None:
    found = paired({0: 1.0, 1: 2.0, 2: 3.0}, {0: 1.5, 1: 2.1, 2: 3.9})
    assert found is not None
    assert found.low is not None
    assert found.low < 0
    assert not found.told_apart(0.001)
    clear = paired({0: 1.0, 1: 2.0, 2: 3.0}, {0: 1.5, 1: 2.51, 2: 3.49})
    assert clear is not None
    assert [clear.told_apart(p) for p in (0.001, 0.051, None)] == [True, False, False]


def test_the_functions_use_the_methods_that_were_simulated() -> None:
    draws = np.random.default_rng(2)
    for n, method in ((3, "t"), (19, "t"), (20, "bootstrap")):
        values = draws.exponential(1.0, n)
        found = estimate(values.tolist())
        low, high, p = in_parts(values[None], n)
        assert (found.n, found.method) == (n, method)
        assert (found.low, found.high) == (pytest.approx(low[0]), pytest.approx(high[0]))
        assert (found.mean, found.deviation) == (pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)))
        pair = paired(dict.fromkeys(range(n), 0.0), dict(enumerate(values.tolist())))
        assert pair is not None
        assert (pair.p, pair.low) == (pytest.approx(p[0]), pytest.approx(low[0]))
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
    low, high = bootstrap_t(np.asarray([values]))
    assert not (math.isfinite(low[0]) and math.isfinite(high[0]))
    found, expected = estimate(values), student(np.asarray([values]))
    assert (found.method, found.low, found.high) == ("t", pytest.approx(expected[0][0]), pytest.approx(expected[1][0]))


def test_holm_steps_down_and_leaves_out_what_is_not_known() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
