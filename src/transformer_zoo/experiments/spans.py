"""Ranges of a setting, as `interval(1e-4,1e-2)` is typed: what random search draws from and tuning looks through."""

import math
from dataclasses import dataclass

DIGITS = 3
"""Significant digits of a drawn number, so that it can be typed again."""
EDGE = 0.05
"""Share of a range, at either end, in which a chosen value tells that the range was too narrow."""
LOGARITHMIC_FROM = 10.0
"""Ranges above 0 that span this factor or more are gone through by orders of magnitude, unless a tag says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """All numbers between two."""

    low: float
    high: float
    logarithmic: bool
    """Whether equal ratios count as equally far apart."""
    whole: bool
    """Whether only whole numbers count."""

    def at(self, share: float) -> str:
        """The number at a share of the range in [0, 1], as one types it."""
        if self.logarithmic:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        return self.text(value)

    def text(self, value: float) -> str:
        """A number of the range as one types it, rounded and never outside."""
        rounded = min(self.high, max(self.low, float(f"{value:.{DIGITS}g}")))
        return str(round(rounded)) if self.whole else f"{rounded:g}"

    def share(self, value: float) -> float:
        """Where a number lies in the range, in [0, 1]."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"
