"""Held-out loss, and what is told from it: perplexity, bits per byte, accuracies."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from transformer_zoo.data.batching import Reader
from transformer_zoo.data.stream import evaluation_examples
from transformer_zoo.errors import NumericError
from transformer_zoo.evaluation.base import Evaluation, EvaluationConfig, EvaluationContext, EvaluationReport
from transformer_zoo.generation.base import inference


@dataclass(kw_only=True)
class LossConfig(EvaluationConfig):
    """The objective's own loss on held-out samples, with perplexity, bits per byte and accuracies."""

    def build(self, context: EvaluationContext) -> "LossEvaluation":
        return LossEvaluation(self, context)


class LossEvaluation(Evaluation):
    """Sums in float64 over a fixed order of samples, so that the same model gives the same figures to the last digit.

    - `loss`: Σ weight · mean of each term, the terms as trained but without label smoothing (nats); `loss/<term>` where there are several.
    - `perplexity`: e to the mean loss per predicted token of the language-model term.
    - `bits_per_byte`: that term's loss in bits per byte of text, which unlike a loss per token can be compared between tokenizers. The
      bytes are those of the text that the predicted tokens stand for: all of the split's where every token is predicted, the same share
      of them as of its tokens where a part is (masking, overlapping pairs, a sample of the split). In translation they are the target's.
    - the objective's accuracies.
    """

    def __init__(self, config: LossConfig, context: EvaluationContext) -> None:
        self.config, self.context = config, context
        self.reader = context.data.reader(config.split, context.objective.needs())

    def report(self, model: nn.Module) -> EvaluationReport:
        metrics = self.summary(self.totals(model))
        if not math.isfinite(metrics["loss"]):
            raise NumericError(
                f"the {self.config.split} loss is {metrics['loss']}: the model diverged; train with a lower optimizer.lr or a longer warm-up"
            )
        return EvaluationReport(metrics={f"{self.config.split}/{name}": value for name, value in metrics.items()})

    def totals(self, model: nn.Module) -> dict[str, tuple[float, float]]:
        """(sum, count) of everything the objective measures, over all samples and processes."""
        context = self.context
        sums: dict[str, Tensor] = {}
        with inference(model):
            for view in context.objective.views():
                examples = evaluation_examples(
                    self.reader,
                    partial(view.prepare, training=False),
                    batch_size=self.config.batch_size,
                    rank=context.rank,
                    world_size=context.world_size,
                    max_samples=self.config.max_samples,
                )
                for example in context.guard(examples):
                    example = example.to(context.device)
                    with context.autocast():
                        report = view.evaluate(model(example.inputs), example)
                    for name, pair in report.sums.items():
                        sums[name] = sums.get(name, torch.zeros(2, dtype=torch.float64)) + pair.to("cpu", torch.float64)
        names = sorted(sums)
        stacked = context.total(torch.stack([sums[name] for name in names]))
        return {name: (total, count) for name, (total, count) in zip(names, stacked.tolist(), strict=True)}

    def summary(self, totals: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        """Means, and what follows from them, the loss first."""
        means = {name: total / count if count else 0.0 for name, (total, count) in totals.items()}
        weights, language = self.context.objective.held_out_weights, self.context.objective.language_term
        metrics = {"loss": sum(weight * means[f"loss/{term}"] for term, weight in weights.items())}
        if len(weights) > 1:
            metrics |= {f"loss/{term}": means[f"loss/{term}"] for term in weights}
        if language is not None:
            metrics["perplexity"] = math.exp(min(means[f"loss/{language}"], 700.0))
            metrics["bits_per_byte"] = bits_per_byte(*totals[f"loss/{language}"], self.reader)
        return metrics | {name: mean for name, mean in means.items() if not name.startswith("loss/")}


def bits_per_byte(nats: float, n_predicted: float, reader: Reader) -> float:
    """A summed loss in bits per byte of the text that `n_predicted` tokens stand for."""
    n_bytes = reader.n_bytes * min(1.0, n_predicted / reader.n_tokens)
    return nats / math.log(2) / n_bytes if n_bytes else 0.0
