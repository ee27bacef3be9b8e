"""How long hidden spans are."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from transformer_zoo.settings import Config, PositiveInt, Range


@dataclass(kw_only=True)
class SpanLengthsConfig(Config):
    """The distribution of lengths. It is also the distribution itself: it has no state."""

    slot: ClassVar[str | None] = "objective/unit/lengths"

    @property
    def longest(self) -> int:
        """The greatest length."""
        raise NotImplementedError("abstract")

    def probabilities(self) -> np.ndarray:
        """[longest] of the lengths 1, 2 … up to the longest."""
        raise NotImplementedError("abstract")

    def drawn(self, draws: np.ndarray) -> np.ndarray:
        """Lengths as int64, one for each draw in [0, 1)."""
        cumulated = np.cumsum(self.probabilities())
        return np.searchsorted(cumulated[:-1], draws, side="right").astype(np.int64) + 1

    @property
    def mean(self) -> float:
        """The expected length."""
        probabilities = self.probabilities()
        return float((np.arange(1, len(probabilities) + 1) * probabilities).sum())


def _scaled(weights: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = weights / weights.sum()
    return scaled


@dataclass(kw_only=True)
class GeometricLengthsConfig(SpanLengthsConfig):
    """Each length is less likely than the one before by the same factor (Joshi et al. 2020, SpanBERT, https://arxiv.org/abs/1907.10529)."""

    p: Annotated[float, Range(0, 1, open_minimum=True)] = 0.2
    """Probability that a span ends with any of its members."""
    max_length: PositiveInt = 10
    """The greatest length; the probabilities up to it are scaled to sum to one (then 3.8 on average, as in the paper)."""

    @property
    def longest(self) -> int:
        return self.max_length

    def probabilities(self) -> np.ndarray:
        return _scaled(self.p * (1 - self.p) ** np.arange(self.max_length))


@dataclass(kw_only=True)
class PoissonLengthsConfig(SpanLengthsConfig):
    """A Poisson distribution without its zero (Lewis et al. 2020, BART, https://arxiv.org/abs/1910.13461, where empty spans stand for insertions)."""

    rate: Annotated[float, Range(0, 100, open_minimum=True)] = 3.0
    """Its mean before 0 is left out."""
    max_length: PositiveInt = 20
    """The greatest length; the probabilities up to it are scaled to sum to one."""

    @property
    def longest(self) -> int:
        return self.max_length

    def probabilities(self) -> np.ndarray:
        lengths = np.arange(1, self.max_length + 1)
        logarithms = lengths * math.log(self.rate) - np.array([math.lgamma(length + 1) for length in lengths])
        return _scaled(np.exp(logarithms - logarithms.max()))


@dataclass(kw_only=True)
class FixedLengthsConfig(SpanLengthsConfig):
    """All spans have the same length."""

    length: PositiveInt = 3
    """Members of a span."""

    @property
    def longest(self) -> int:
        return self.length

    def probabilities(self) -> np.ndarray:
        return np.eye(self.length)[-1]


@dataclass(kw_only=True)
class HarmonicLengthsConfig(SpanLengthsConfig):
    """p(n) ∝ 1/n, the n-grams of ALBERT (up to 3, https://arxiv.org/abs/1909.11942) and XLNet (up to 5, https://arxiv.org/abs/1906.08237)."""

    max_length: PositiveInt = 3
    """The greatest length."""

    @property
    def longest(self) -> int:
        return self.max_length

    def probabilities(self) -> np.ndarray:
        return _scaled(1 / np.arange(1, self.max_length + 1))
