"""How far a model is from the best possible loss, where that is known: on the built-in language."""

import math
from dataclasses import dataclass

from torch import nn

from transformer_zoo.errors import ConfigError
from transformer_zoo.evaluation.base import Evaluation, EvaluationConfig, EvaluationContext, EvaluationReport
from transformer_zoo.evaluation.floor import best_possible
from transformer_zoo.evaluation.loss import LossConfig, LossEvaluation


@dataclass(kw_only=True)
class GapConfig(EvaluationConfig):
    """Held-out loss beside the least that anybody can reach on the very same positions, who knows the language itself."""

    def build(self, context: EvaluationContext) -> "Gap":
        return Gap(self, context)


class Gap(Evaluation):
    """`gap/loss` (nats above the exact floor, a mean per predicted token), `gap/floor`, and `gap/relative` (the loss as a multiple of the floor).

    Losses of an encoder and a decoder answer different questions; how far each is from its own best possible answer can be put side by side.
    """

    def __init__(self, config: GapConfig, context: EvaluationContext) -> None:
        self.config = config
        settings = LossConfig(split=config.split, batch_size=config.batch_size, max_samples=config.max_samples)
        floors = best_possible(settings, context)
        if floors is None:
            raise ConfigError(
                "evaluation=gap: no best possible loss is known here: it needs data=pocket, tokenizer=word, data.packing=separate, and an objective "
                "whose floor can be computed (mlm, clm, prefix_lm, translation, next sentence)"
            )
        self.floor = floors[f"{config.split}/loss"]
        self.loss = LossEvaluation(settings, context)

    def report(self, model: nn.Module) -> EvaluationReport:
        split = self.config.split
        found = self.loss.report(model).metrics
        loss = found[f"{split}/loss"]
        metrics = {"loss": loss - self.floor, "floor": self.floor, "relative": loss / self.floor if self.floor else math.inf}
        return EvaluationReport(metrics={f"{split}/gap/{name}": value for name, value in metrics.items()})
