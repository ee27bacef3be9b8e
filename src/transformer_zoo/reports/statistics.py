"""What chance allows to say about few runs: intervals of means, and of differences between runs with the same seeds."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean of differences, run for run, and half the width of its interval (None with a single pair)."""

    mean: float
    half: float | None
    n: int

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.half is not None and abs(self.mean) > self.half


def half_width(values: Sequence[float], level: float = LEVEL) -> float | None:
    """Half the width of Student's interval for the mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    from scipy import stats

    critical = float(stats.t.ppf((1 + level) / 2, len(values) - 1))
    return critical * statistics.stdev(values) / math.sqrt(len(values))


def paired(first: Mapping[Any, float], second: Mapping[Any, float], level: float = LEVEL) -> Difference | None:
    """`second` minus `first`, each seed → value, over the seeds that both have; None where there is none."""
    differences = [second[seed] - first[seed] for seed in first if seed in second]
    if not differences:
        return None
    return Difference(mean=statistics.fmean(differences), half=half_width(differences, level), n=len(differences))
