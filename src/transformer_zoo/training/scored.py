"""The one module the trainer calls, compiles and wraps for several devices: a model together with the objective that scores it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from torch import Tensor, nn

from transformer_zoo.records import Example, Inputs, LossReport, ModelOutput


class LossObjective(Protocol):
    """What training asks of an objective."""

    @property
    def weights(self) -> Mapping[str, float]:
        """The weight of every loss term."""

    @property
    def predicted_terms(self) -> Sequence[str]:
        """The terms whose counts are the tokens that are predicted."""

    @property
    def ledger(self) -> Mapping[str, tuple[str, str | None]]:
        """What is told of the sums in `Example.ledger`: name → the sum, and the sum it is a share of; None: the total so far."""

    def loss(self, output: ModelOutput, example: Example) -> LossReport:
        """One differentiable sum per term."""


class Scored(nn.Module):
    """`forward(example)` runs the model and scores it, so that every parameter is used inside one forward.

    The parameters are the model's alone; `scored.model` is the plain model whose weights are saved.
    """

    def __init__(self, model: nn.Module, objective: LossObjective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    @property
    def weights(self) -> dict[str, float]:
        """The weight of every loss term."""
        return dict(self.objective.weights)

    def forward(self, example: Example) -> LossReport:
        inputs: Inputs = example.inputs
        return self.objective.loss(self.model(inputs), example)


def weighted_loss(report: LossReport, scales: Mapping[str, float]) -> Tensor:
    """Σ scale · sum over the terms of a report: a scalar to backpropagate. A scale is weight / count, or 0 where nothing is counted."""
    terms = [report.sums[name] * scale for name, scale in scales.items()]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
