"""How the mask ratio moves over training: pure functions of the share of the budget that is spent, or of the sample.

`mask_ratio` is where a schedule ends, and the ratio of every held-out loss.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import numpy as np

from transformer_zoo.randomness import uniform
from transformer_zoo.records import Rows
from transformer_zoo.settings import Config, Ratio


@dataclass(kw_only=True)
class RatioScheduleConfig(Config):
    """How the mask ratio moves over training. It is also the schedule itself: it has no state."""

    slot: ClassVar[str | None] = "objective/ratio_schedule"
    follows_budget: ClassVar[bool] = True
    """Whether rows must say which share of the budget is spent."""

    def ratios(self, final: float, rows: Rows) -> np.ndarray:
        """[B] float64: the ratio of each row in training; `final` is `mask_ratio`."""
        assert rows.progress is not None, "the assembly gives rows their progress"
        return self.at(final, rows.progress.numpy())

    def at(self, final: float, progress: np.ndarray) -> np.ndarray:
        """The ratios at shares of the budget in [0, 1], in any shape."""
        raise NotImplementedError("abstract")

    def bounds(self, final: float) -> tuple[float, float]:
        """The least and the largest ratio there will be."""
        ends = self.at(final, np.array([0.0, 1.0]))
        return float(ends.min()), float(ends.max())


@dataclass(kw_only=True)
class ConstantRatioConfig(RatioScheduleConfig):
    """The same ratio from first to last."""

    follows_budget: ClassVar[bool] = False

    def ratios(self, final: float, rows: Rows) -> np.ndarray:
        return np.full(len(rows.index), final)

    def at(self, final: float, progress: np.ndarray) -> np.ndarray:
        return np.full(np.shape(progress), final)


@dataclass(kw_only=True)
class LinearRatioConfig(RatioScheduleConfig):
    """In a straight line from `initial` to `mask_ratio` (Yang et al. 2023, https://arxiv.org/abs/2212.05018)."""

    initial: Ratio = 0.3
    """The ratio at the start."""

    def at(self, final: float, progress: np.ndarray) -> np.ndarray:
        return self.initial + (final - self.initial) * progress


@dataclass(kw_only=True)
class CosineRatioConfig(RatioScheduleConfig):
    """Along half a cosine from `initial` to `mask_ratio` (Yang et al. 2023, https://arxiv.org/abs/2212.05018)."""

    initial: Ratio = 0.3
    """The ratio at the start."""

    def at(self, final: float, progress: np.ndarray) -> np.ndarray:
        return final + (self.initial - final) * (1 + np.cos(np.pi * progress)) / 2


@dataclass(kw_only=True)
class StepsRatioConfig(RatioScheduleConfig):
    """One ratio after another; behind the last border `mask_ratio` holds."""

    ratios_before: list[Ratio] = field(default_factory=lambda: [0.3])
    """The ratio before each border."""
    borders: list[Ratio] = field(default_factory=lambda: [0.5])
    """Shares of the budget at which the ratio changes, ascending."""

    def problems(self) -> list[str]:
        """As many ratios as borders, and these in their order."""
        found = []
        if len(self.ratios_before) != len(self.borders) or not self.borders:
            found.append(f"ratios_before has {len(self.ratios_before)} and borders {len(self.borders)} entries: give one ratio for every border")
        if any(after <= before for before, after in pairwise(self.borders)):
            found.append(f"borders={self.borders} do not ascend")
        return found

    def at(self, final: float, progress: np.ndarray) -> np.ndarray:
        ratios: np.ndarray = np.array([*self.ratios_before, final])[np.searchsorted(self.borders, progress, side="right")]
        return ratios

    def bounds(self, final: float) -> tuple[float, float]:
        return min(*self.ratios_before, final), max(*self.ratios_before, final)


@dataclass(kw_only=True)
class UniformRatioConfig(RatioScheduleConfig):
    """Every sample has a ratio of its own, uniform between `low` and `high`; held-out losses are at `mask_ratio`."""

    follows_budget: ClassVar[bool] = False

    low: Ratio = 0.05
    """The least ratio."""
    high: Ratio = 0.95
    """The largest ratio."""

    def problems(self) -> list[str]:
        """An interval."""
        return [] if self.low < self.high else [f"low={self.low:g} is not below high={self.high:g}"]

    def ratios(self, final: float, rows: Rows) -> np.ndarray:
        return self.low + (self.high - self.low) * uniform(rows, "mask: ratio", 1)[:, 0]

    def bounds(self, final: float) -> tuple[float, float]:
        return self.low, self.high
