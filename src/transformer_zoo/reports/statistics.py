"""What chance allows to say about few runs: intervals of means and of paired differences, p-values, adjustment for many comparisons.

Below 20 values Student's t. From 20 on the studentised bootstrap (bootstrap-t, Efron and Tibshirani 1993, chapter 12.5): with 20 values it covers
95% of normal and 94% of exponential means, where the BCa interval covers 93% and 91%. p-values are those of the paired t-test below 20 pairs, and of
sign flips from 20 on: identical contestants may as well have been swapped in any pair, so that these are exact for them (the bootstrap's would be
somewhat too small). Both draw by a fixed seed, and the order of the values makes no difference, so the same runs give the same answer.
"""

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
ALPHA = 1 - LEVEL
BOOTSTRAP_FROM = 20
"""So many values have a bootstrap interval, fewer Student's."""
RESAMPLES = 19_999
"""The smallest p-value of sign flips is 1 / (RESAMPLES + 1) = 0.00005."""
ROUNDING = 1e-9
"""Values that differ by less than this share of their size are equal up to the rounding of sums."""
T, BOOTSTRAP, SIGNS, NONE = "t", "bootstrap", "signs", "none"
Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The mean of some values and what is known of its uncertainty."""

    n: int
    mean: float
    """NaN for no values."""
    deviation: float | None = None
    """Sample standard deviation; None for fewer than two values."""
    low: float | None = None
    high: float | None = None
    """95% interval of the mean; None where there is no spread to tell it from: fewer than two values, or all equal."""
    method: str = NONE
    """`t`, `bootstrap` or `none`."""


@dataclass(frozen=True, kw_only=True)
class Difference(Estimate):
    """The mean of differences, run for run."""

    p: float | None = None
    """Of the hypothesis that the two are equal, two-sided: paired t-test below 20 pairs, sign flips from 20 on; None with a single pair. Where all
    differences are equal and not 0 there is no spread to judge by, and the signs alone decide (method `signs`)."""
    effect: float | None = None
    """Hedges' g of paired differences: their mean over their sample standard deviation (Cohen's d_z), corrected for small n; None below three
    pairs (the correction leaves nothing) and where the deviation is 0 and the mean is not."""
    unpaired: int = 0
    """Seeds that only one of the two has."""

    @property
    def beyond_chance(self) -> bool:
        """Whether this comparison on its own leaves out zero at the level of its interval (one of many needs `told_apart`)."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def told_apart(self, p_adjusted: float | None) -> bool:
        """Whether it is beyond chance as one of many: by its adjusted p-value, and never with zero inside its interval."""
        return p_adjusted is not None and p_adjusted <= ALPHA and (self.low is None or self.beyond_chance)


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Mean, sample standard deviation and interval of the mean. Values that are not finite have no interval."""
    if len(values) < 2 or not all(math.isfinite(value) for value in values):
        return Estimate(n=len(values), mean=statistics.fmean(values) if values else math.nan)
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    if _equal(deviation, values):
        return Estimate(n=len(values), mean=mean, deviation=0.0)
    low, high, _, method = _judged(tuple(values), level)
    return Estimate(n=len(values), mean=mean, deviation=deviation, low=low, high=high, method=method)


def paired(first: Mapping[Any, float], second: Mapping[Any, float], level: float = LEVEL) -> Difference | None:
    """`second` minus `first`, each seed → value, over the seeds that both have; None where there is none."""
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    unpaired = len(first.keys() ^ second.keys())
    differences = [second[seed] - first[seed] for seed in seeds]
    n, finite = len(seeds), all(math.isfinite(value) for value in differences)
    mean = statistics.fmean(differences) if finite else sum(differences) / n
    if n == 1 or not finite:
        return Difference(n=n, mean=mean, unpaired=unpaired)
    deviation = statistics.stdev(differences)
    if _equal(deviation, [*(first[seed] for seed in seeds), *(second[seed] for seed in seeds)]):
        if abs(mean) <= ROUNDING * max(abs(first[seed]) for seed in seeds):
            return Difference(n=n, mean=0.0, deviation=0.0, p=1.0, effect=0.0, unpaired=unpaired)
        return Difference(n=n, mean=mean, deviation=0.0, p=2.0 ** (1 - n), method=SIGNS, unpaired=unpaired)
    low, high, p, method = _judged(tuple(differences), level)
    effect = hedges(n) * mean / deviation if n > 2 else None
    return Difference(n=n, mean=mean, deviation=deviation, low=low, high=high, p=p, effect=effect, method=method, unpaired=unpaired)


def _equal(deviation: float, values: Sequence[float]) -> bool:
    """Whether a spread is none, or only that of rounding."""
    return deviation <= ROUNDING * max(abs(value) for value in values)


def hedges(n: int) -> float:
    """The factor that makes the mean over the deviation of n normal values unbiased (Hedges 1981), for n of at least 3."""
    degrees = n - 1
    return math.exp(math.lgamma(degrees / 2) - math.lgamma((degrees - 1) / 2)) / math.sqrt(degrees / 2)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted for all of them together (Holm 1979): the chance that any true equality is called a difference stays below the level.

    None stands for a comparison that was not possible; it stays None and counts for nothing.
    """
    known = sorted((value, place) for place, value in enumerate(values) if value is not None)
    adjusted: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (value, place) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * value))
        adjusted[place] = largest
    return adjusted


# --- many samples at once ---------------------------------------------------------------------------------------------------------------


def student(samples: Array, level: float = LEVEL) -> tuple[Array, Array, Array]:
    """samples [R, n] → low, high and p (of mean 0), each [R], by Student's t; rows must have some spread."""
    from scipy import stats

    n = samples.shape[1]
    mean, error = samples.mean(1), samples.std(1, ddof=1) / math.sqrt(n)
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * error
    return mean - half, mean + half, 2 * stats.t.sf(np.abs(mean / error), n - 1)


def bootstrap_t(samples: Array, level: float = LEVEL) -> tuple[Array, Array]:
    """samples [R, n] → low and high, each [R], by the studentised bootstrap; ends that the resamples do not reach (few different values) are
    infinite."""
    n = samples.shape[1]
    mean, deviation = samples.mean(1), samples.std(1, ddof=1)
    error = deviation / math.sqrt(n)
    standard = np.sort((samples - mean[:, None]) / deviation[:, None], axis=1)  # [R, n]
    shares = _resamples(n)  # [S, n]
    means = shares @ standard.T  # [S, R]
    errors = np.sqrt(np.maximum(shares @ np.square(standard.T) - np.square(means), 0.0) / (n - 1))
    flat = errors < ROUNDING
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.where(flat, np.where(np.abs(means) < ROUNDING, 0.0, np.copysign(np.inf, means)), means / errors)
    tail = math.floor((RESAMPLES + 1) * (1 - level) / 2 + ROUNDING)
    if tail < 1:
        return np.full_like(mean, -np.inf), np.full_like(mean, np.inf)
    ends = np.partition(drawn, (tail - 1, RESAMPLES - tail), axis=0)
    return mean - ends[RESAMPLES - tail] * error, mean - ends[tail - 1] * error


def sign_flips(samples: Array) -> Array:
    """samples [R, n] → p [R]: how often the mean is as far from 0 when every difference takes a sign by chance (Fisher 1935, section 21)."""
    ordered = samples[np.arange(len(samples))[:, None], np.argsort(np.abs(samples), axis=1)]
    means = np.abs(_signs(samples.shape[1]) @ np.abs(ordered).T)  # [S, R], n times the mean
    seen = np.abs(ordered.sum(1))
    reached = (means >= seen * (1 - ROUNDING)).sum(0)
    return (1.0 + reached.astype(np.float64)) / (RESAMPLES + 1)


@functools.lru_cache(maxsize=4)
def _resamples(n: int) -> Array:
    """Which share of each resample every one of n values has: [RESAMPLES, n], rows sum to 1."""
    return np.random.default_rng(n).multinomial(n, [1 / n] * n, size=RESAMPLES) / n


@functools.lru_cache(maxsize=4)
def _signs(n: int) -> Array:
    """[RESAMPLES, n] of +1 and −1."""
    return np.asarray(2 * np.random.default_rng(n).integers(0, 2, size=(RESAMPLES, n)) - 1, dtype=np.float64)


@functools.lru_cache(maxsize=4096)
def _judged(values: tuple[float, ...], level: float) -> tuple[float, float, float, str]:
    """low, high, p and the method for values with some spread; the parts of a report ask for the same again."""
    samples = np.asarray([values], dtype=np.float64)
    low, high, p = (float(one[0]) for one in student(samples, level))
    if len(values) < BOOTSTRAP_FROM:
        return low, high, p, T
    p = float(sign_flips(samples)[0])
    ends = [float(one[0]) for one in bootstrap_t(samples, level)]
    return (ends[0], ends[1], p, BOOTSTRAP) if all(map(math.isfinite, ends)) else (low, high, p, T)
