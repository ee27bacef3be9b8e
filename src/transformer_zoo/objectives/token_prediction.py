"""What masked, causal and translation objectives share: a cross-entropy over the vocabulary at chosen positions."""

from transformer_zoo.objectives.base import Objective, sums
from transformer_zoo.records import Example, HeadNeed, LossReport, MetricReport, ModelOutput, Needs

HEAD = "vocabulary"
HEADS = {HEAD: HeadNeed(kind="vocabulary")}


class TokenPrediction(Objective):
    """One term of weight 1: the vocabulary head's loss for the targets that `prepare` gives under the term's name."""

    def __init__(self, term: str, needs: Needs, *, label_smoothing: float = 0.0) -> None:
        self.term, self.language_term, self.label_smoothing = term, term, label_smoothing
        self.weights = {term: 1.0}
        self._needs = needs

    def needs(self) -> Needs:
        return self._needs

    def scores_like(self, other: Objective) -> bool:
        return isinstance(other, TokenPrediction) and (self.term, self.label_smoothing) == (other.term, other.label_smoothing)

    def loss(self, output: ModelOutput, example: Example) -> LossReport:
        return LossReport(sums={self.term: output.heads[HEAD].cross_entropy(example.targets[self.term], self.label_smoothing)})

    def evaluate(self, output: ModelOutput, example: Example) -> MetricReport:
        losses, correct = output.heads[HEAD].evaluate(example.targets[self.term])
        count = example.counts[self.term]
        return MetricReport(sums={f"loss/{self.term}": sums(losses.cpu().double().sum(), count), f"{self.term}_accuracy": sums(correct.sum(), count)})
