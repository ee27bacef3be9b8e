"""Pseudo-perplexity: what perplexity is for a model that reads both ways (Salazar et al. 2020, https://arxiv.org/abs/1910.14659)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from transformer_zoo.data.batching import Reader
from transformer_zoo.evaluation.base import Evaluation, EvaluationConfig, EvaluationContext, EvaluationReport
from transformer_zoo.evaluation.hidden_text import HiddenText
from transformer_zoo.generation.base import inference
from transformer_zoo.records import SequenceInputs, TextBatch
from transformer_zoo.settings import PositiveInt

NAME = "pseudo_perplexity"


@dataclass(kw_only=True)
class PseudoPerplexityConfig(EvaluationConfig):
    """Hides each token of a row alone and asks for it: as many forwards as there are tokens."""

    batch_size: PositiveInt = 64
    """Copies of a row per forward, each with another token hidden. Results do not depend on it but for rounding."""
    max_samples: PositiveInt | None = 64
    """Evaluate on this many samples, evenly spread over the split; null: on all, which takes as many forwards as the split has tokens."""

    def build(self, context: EvaluationContext) -> "PseudoPerplexity":
        return PseudoPerplexity(self, context)


class PseudoPerplexity(Evaluation):
    """Of every token of the samples, given all others of its row:

    - `pseudo_loss`: mean cross-entropy in nats; `pseudo_perplexity`: e to it; `pseudo_accuracy`: the share that the model says right.
    - `pseudo_bits_per_byte`: the loss in bits per byte of the same text of which the `loss` evaluation tells a decoder's `bits_per_byte`. It is
      no code length: each token is told all others, so a figure below a decoder's does not mean that the text is modelled better.
    """

    def __init__(self, config: PseudoPerplexityConfig, context: EvaluationContext) -> None:
        self.config, self.context = config, context
        self.text = HiddenText(NAME, config, context)

    @property
    def reader(self) -> Reader:
        """The held-out samples."""
        return self.text.reader

    def report(self, model: nn.Module) -> EvaluationReport:
        sums = torch.zeros(4, dtype=torch.float64)  # nats, right, predicted, samples
        with inference(model):
            for batch in self.text.batches():
                sums[3] += len(batch.token_ids)
                for copies, hidden in self.hidden_alone(batch):
                    sums[:3] += self.text.score(model, copies, hidden)
        total = self.context.total(sums)
        scores, split = self.text.summary(total[:3]), self.config.split
        metrics = {"loss": scores.loss, "perplexity": scores.perplexity, "bits_per_byte": scores.bits_per_byte, "accuracy": scores.accuracy}
        return EvaluationReport(
            metrics={f"{split}/pseudo_{name}": value for name, value in metrics.items()},
            notes={NAME: f"{scores.predicted} tokens of {int(total[3])} samples, each hidden alone"},
        )

    def hidden_alone(self, batch: TextBatch) -> Iterator[tuple[SequenceInputs, np.ndarray]]:
        """Copies [N,T] of one row, without its padding, and the token that is hidden in each [N,T]; every row in turn, at most `batch_size` copies at
        a time."""
        maskable = self.text.maskable(batch)  # [B,T]
        for row, length in enumerate(batch.valid.sum(dim=1).tolist()):
            places = np.flatnonzero(maskable[row])
            for start in range(0, len(places), self.config.batch_size):
                hidden = np.arange(length) == places[start : start + self.config.batch_size, None]  # [N,T]

                def copies(values: Tensor, row: int = row, length: int = length, n: int = len(hidden)) -> Tensor:
                    return values[row, :length].expand(n, length)

                documents = None if batch.document_ids is None else copies(batch.document_ids)
                yield SequenceInputs(token_ids=copies(batch.token_ids), document_ids=documents), hidden
