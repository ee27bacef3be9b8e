"""What every evaluation shares: what it is given, what it returns, and the settings common to all."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from transformer_zoo.data.base import DataConfig
from transformer_zoo.data.module import DataModule
from transformer_zoo.objectives.base import Objective, ObjectiveConfig
from transformer_zoo.settings import Config, OneOf, PositiveInt


def _alone(values: Tensor) -> Tensor:
    return values


def _unwatched(items: Iterable[Any]) -> Iterable[Any]:
    return items


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """A short training that begins with the weights that are evaluated."""

    data: DataConfig | None
    """What it reads; None: the run's own data."""
    objective: ObjectiveConfig
    steps: int
    batch_size: int
    lr: float
    seed: int


@dataclass(kw_only=True)
class EvaluationContext:
    """What an evaluation works on and where. With several processes each evaluates its share of the samples, and `total` adds them up."""

    data: DataModule
    objective: Objective
    device: torch.device | str = "cpu"
    rank: int = 0
    world_size: int = 1
    total: Callable[[Tensor], Tensor] = _alone
    """The elementwise sum of a float64 tensor over all processes."""
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    """Around every forward: the precision."""
    guard: Callable[[Iterable[Any]], Iterable[Any]] = _unwatched
    """Around every loop over batches; may end it with an error, for example because a signal came."""
    untrained: Callable[[int], nn.Module] | None = None
    """A model like that of a finished run with weights drawn anew from a seed; None while the run itself is trained."""
    fine_tune: Callable[[FineTuning], tuple[nn.Module, "EvaluationContext"]] | None = None
    """Trains a copy of a finished run's model and gives it with a context of its own; None while the run itself is trained."""


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """What an evaluation found."""

    metrics: dict[str, float]
    """By name, such as `validation/loss`."""
    notes: dict[str, str] = field(default_factory=dict)
    """What must be known to compare the metrics, such as the signature of a BLEU score."""
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The same once more, sorted by what was measured (for the mask grid: by ratio), where that is easier to read; `--json` shows it."""


@dataclass(kw_only=True)
class EvaluationConfig(Config, ABC):
    """Base of the evaluations."""

    slot: ClassVar[str | None] = "evaluation"

    split: Annotated[str, OneOf("train", "validation", "test")] = "validation"
    """The part of the data to evaluate on; it is the first word of every metric's name."""
    batch_size: PositiveInt = 64
    """Samples per forward. Results do not depend on it but for rounding."""
    max_samples: PositiveInt | None = None
    """Evaluate on this many samples, evenly spread over the split; null: on all."""

    @abstractmethod
    def build(self, context: EvaluationContext) -> "Evaluation":
        """The evaluation of these settings on the context's data. Refuses what it cannot evaluate."""


class Evaluation(ABC):
    """Measures a model. Calling it gives the metrics alone, as training wants them."""

    @abstractmethod
    def report(self, model: nn.Module) -> EvaluationReport:
        """Measures the model in evaluation mode, without changing it."""

    def __call__(self, model: nn.Module) -> dict[str, float]:
        return self.report(model).metrics
