"""Typed settings: the base of every `…Config` dataclass and the ranges its fields may carry.

A component's settings are a keyword-only dataclass directly above the component. A range is part of the field's type, for example
`dropout: Probability = 0.1`, so that one strict converter (`experiments/convert.py`) can check every value of every component
before anything is built. The dataclasses know nothing of Hydra.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar


@dataclass(frozen=True)
class Range:
    """An interval a number must lie in; a bound that is `open` is itself excluded."""

    minimum: float = float("-inf")
    maximum: float = float("inf")
    open_minimum: bool = False
    open_maximum: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` lies inside; NaN never does."""
        above = value > self.minimum if self.open_minimum else value >= self.minimum
        below = value < self.maximum if self.open_maximum else value <= self.maximum
        return above and below

    def __str__(self) -> str:
        if self.maximum == float("inf"):
            return f"{'greater than' if self.open_minimum else 'at least'} {self.minimum:g}"
        if self.minimum == float("-inf"):
            return f"{'less than' if self.open_maximum else 'at most'} {self.maximum:g}"
        left, right = "(" if self.open_minimum else "[", ")" if self.open_maximum else "]"
        return f"in {left}{self.minimum:g}, {self.maximum:g}{right}"


class OneOf:
    """The words a text setting may take."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def holds(self, value: str) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return self.words[0] if len(self.words) == 1 else "one of " + ", ".join(self.words)


PositiveInt = Annotated[int, Range(1)]
NaturalInt = Annotated[int, Range(0)]
PositiveFloat = Annotated[float, Range(0, open_minimum=True)]
NonNegativeFloat = Annotated[float, Range(0)]
Probability = Annotated[float, Range(0, 1, open_maximum=True)]
"""A rate of dropout or smoothing: 0 switches it off, 1 would leave nothing."""
Share = Annotated[float, Range(0, 1)]
Ratio = Annotated[float, Range(0, 1, open_minimum=True, open_maximum=True)]


class Config:
    """Base of all settings. `slot` names the configuration group whose choices are subclasses of a class that sets it."""

    slot: ClassVar[str | None] = None
