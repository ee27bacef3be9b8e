"""Learning-rate schedules: pure functions of the step and of the share of the budget, whatever the budget is counted in.

Every schedule starts with a linear warm-up. `factor` multiplies the optimiser's lr.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

from transformer_zoo.settings import Config, NaturalInt, OneOf, Range, Share


@dataclass(frozen=True, kw_only=True)
class Moment:
    """One update's place in the run. With a budget in seconds `start` and `end` are both what the clock says."""

    step: int
    """The update's number, from 1."""
    start: float
    """Share of the budget spent before it, in [0, 1]."""
    end: float
    """Share of the budget spent after it, in [0, 1]."""


@dataclass(kw_only=True)
class ScheduleConfig(Config):
    """How the learning rate moves over the run. It is also the schedule itself: it has no state."""

    slot: ClassVar[str | None] = "schedule"

    warmup_share: Annotated[float, Range(0, 1, open_maximum=True)] = 0.06
    """Share of the budget over which the learning rate rises from 0 to its peak."""
    warmup_steps: NaturalInt | None = None
    """The same in steps; where given, it wins over `warmup_share`."""

    def factor(self, moment: Moment) -> float:
        """What to multiply lr by, in [0, 1]."""
        warmup = self.warmup_end(moment)
        if self.warmup_steps is not None:
            rise = moment.step / self.warmup_steps if self.warmup_steps else 1.0
        else:
            rise = moment.end / warmup if warmup else 1.0
        if rise < 1:
            return rise
        return self.after_warmup(moment, warmup)

    def warmup_end(self, moment: Moment) -> float:
        """Share of the budget at which the warm-up ends; from `warmup_steps` by the pace so far."""
        if self.warmup_steps is None:
            return self.warmup_share
        return min(1.0, self.warmup_steps * moment.end / moment.step)

    def after_warmup(self, moment: Moment, warmup: float) -> float:
        """The factor from the peak on; `warmup` is the share of the budget at which it stands."""
        raise NotImplementedError("abstract")


def _place(start: float, first: float) -> float:
    """Where `start` lies in [first, 1], as a number in [0, 1]."""
    return min(1.0, max(0.0, (start - first) / (1 - first))) if first < 1 else 0.0


@dataclass(kw_only=True)
class ConstantConfig(ScheduleConfig):
    """Stays at the peak."""

    def after_warmup(self, moment: Moment, warmup: float) -> float:
        return 1.0


@dataclass(kw_only=True)
class LinearConfig(ScheduleConfig):
    """Falls in a straight line (BERT)."""

    final_share: Share = 0.0
    """Factor at the end of the budget."""

    def after_warmup(self, moment: Moment, warmup: float) -> float:
        return 1 - (1 - self.final_share) * _place(moment.start, warmup)


@dataclass(kw_only=True)
class CosineConfig(ScheduleConfig):
    """Falls along half a cosine (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983)."""

    final_share: Share = 0.1
    """Factor at the end of the budget."""

    def after_warmup(self, moment: Moment, warmup: float) -> float:
        return self.final_share + (1 - self.final_share) * (1 + math.cos(math.pi * _place(moment.start, warmup))) / 2


@dataclass(kw_only=True)
class InverseSqrtConfig(ScheduleConfig):
    """Falls with one over the root of the step (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).

    The paper's d_model^-0.5 · min(step^-0.5, step · warmup^-1.5) is this with lr = d_model^-0.5 · warmup^-0.5, the peak at the end of the warm-up.
    """

    def after_warmup(self, moment: Moment, warmup: float) -> float:
        if self.warmup_steps is not None:
            return math.sqrt(max(1, self.warmup_steps) / max(1, moment.step))
        first = moment.end / moment.step  # one step's share of the budget, at the pace so far
        return math.sqrt(max(warmup, first) / moment.end) if moment.end > 0 else 1.0


@dataclass(kw_only=True)
class WSDConfig(ScheduleConfig):
    """Warm-up, a long stable phase, then a decay (MiniCPM, Hu et al. 2024, https://arxiv.org/abs/2404.06395)."""

    decay_share: Annotated[float, Range(0, 1)] = 0.2
    """Share of the budget, at its end, over which the learning rate falls."""
    shape: Annotated[str, OneOf("linear", "one_minus_sqrt")] = "one_minus_sqrt"
    """How it falls; 1 − √ is the better one in Hägele et al. 2024 (https://arxiv.org/abs/2405.18392)."""
    final_share: Share = 0.0
    """Factor at the end of the budget."""

    def problems(self) -> list[str]:
        """Cross-field checks."""
        if self.warmup_steps is None and self.warmup_share + self.decay_share > 1:
            return [f"warmup_share={self.warmup_share:g} and decay_share={self.decay_share:g} are more than the whole budget together"]
        return []

    def after_warmup(self, moment: Moment, warmup: float) -> float:
        place = _place(moment.start, max(warmup, 1 - self.decay_share))
        fallen = math.sqrt(place) if self.shape == "one_minus_sqrt" else place
        return 1 - (1 - self.final_share) * fallen
