"""A loss term over the vocabulary: the part that masked, causal and translation objectives share."""

from dataclasses import dataclass

from torch import Tensor

from transformer_zoo.objectives.base import sums
from transformer_zoo.records import Example, LossReport, MetricReport, ModelOutput

HEAD = "vocabulary"


@dataclass(frozen=True)
class VocabularyTerm:
    """Cross-entropy of the vocabulary head at the example's chosen positions."""

    name: str
    label_smoothing: float = 0.0

    def loss(self, output: ModelOutput, example: Example) -> LossReport:
        return LossReport(sums={self.name: output.heads[HEAD].cross_entropy(example.targets[self.name], self.label_smoothing)})

    def evaluate(self, output: ModelOutput, example: Example) -> MetricReport:
        losses, correct = output.heads[HEAD].evaluate(example.targets[self.name])
        count = example.counts[self.name]
        report: dict[str, Tensor] = {
            f"loss/{self.name}": sums(losses.cpu().double().sum(), count),
            f"{self.name}_accuracy": sums(correct.sum(), count),
        }
        return MetricReport(sums=report)
