"""Where a run stands, between two steps: what a checkpoint must say besides the tensors."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(kw_only=True)
class TrainState:
    """Counters and results of a run; plain numbers, so that it goes into JSON and comes back the same."""

    step: int = 0
    """Optimiser steps done (skipped ones included)."""
    tokens: int = 0
    """Tokens read in them, over all processes."""
    predicted_tokens: int | None = 0
    """Tokens predicted in them; None: the run was begun when nobody counted them."""
    seconds: float = 0.0
    """Wall-clock time of the run, interruptions left out."""
    busy_seconds: float = 0.0
    """The part of it spent in steps, without evaluation and saving."""
    stream: dict[str, Any] = field(default_factory=dict)
    """The training stream's own state."""
    skipped: int = 0
    """Steps whose update was dropped because it was not finite."""
    evaluation_due: bool = False
    """The step's evaluation has not been finished."""
    parts: int = 0
    """Tenths of the budget after which an evaluation was due."""
    evaluated_step: int = -1
    """Step of the latest evaluation."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The latest value of every metric."""
    best: dict[str, float] = field(default_factory=dict)
    """All metrics of the best evaluation; empty before the first."""
    best_step: int = -1
    """Its step."""
    misses: int = 0
    """Evaluations since then."""
    finished: str = ""
    """Why the run is complete; empty while it is not."""
    ledger: dict[str, float] = field(default_factory=dict)
    """Sums of the run's ledger, over all steps and processes."""
    interval: "Interval" = field(default_factory=lambda: Interval())
    """What has been added up since the last log line."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TrainState":
        return cls(**{"predicted_tokens": None, **data, "interval": Interval(**data["interval"])})


@dataclass(kw_only=True)
class Interval:
    """Loss sums and counts by term since the last log line, over all processes."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    ledger: dict[str, float] = field(default_factory=dict)
    tokens: int = 0
    busy_seconds: float = 0.0
