"""Held-out text of which an evaluation itself says what is hidden, so that how a model was trained plays no part.

Whatever batches a model was trained on (windows, pairs of segments), it reads windows of running text here, `[CLS] text [SEP]`, and every
hidden token is shown as [MASK].
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transformer_zoo.data.stream import evaluation_batches
from transformer_zoo.errors import ConfigError, DataError, NumericError
from transformer_zoo.evaluation.base import EvaluationConfig, EvaluationContext
from transformer_zoo.evaluation.loss import bits_per_byte
from transformer_zoo.objectives.base import chosen
from transformer_zoo.objectives.maskable import Maskable
from transformer_zoo.records import IGNORED, Needs, SequenceInputs, TextBatch

WINDOWS = Needs(batch=TextBatch, inputs=SequenceInputs, causal=False, framed=True)
"""What is read, by every model alike."""
ORDER_SEED = 0
"""Which random numbers are drawn for a sample: never the run's own seed."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Sums over hidden tokens, and the means that follow."""

    nats: float
    right: int
    predicted: int
    bits_per_byte: float

    @property
    def loss(self) -> float:
        return self.nats / self.predicted

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.loss, 700.0))

    @property
    def accuracy(self) -> float:
        return self.right / self.predicted


class HiddenText:
    """A split in windows of which tokens are hidden. `name` is the evaluation's, for its errors.

    Raises:
        ConfigError: the model predicts no hidden tokens, or the data holds no running text.
    """

    def __init__(self, name: str, config: EvaluationConfig, context: EvaluationContext) -> None:
        needs, vocabulary = context.objective.needs(), context.data.vocabulary
        if not needs.hides_tokens:
            raise ConfigError(
                f"evaluation={name} hides tokens, and this model was not trained to predict hidden ones from both sides "
                "(as by objective=mlm, mlm_nsp, mlm_sop or replaced_token): use evaluation=loss"
            )
        if not context.data.gives(TextBatch):
            raise ConfigError(f"evaluation={name} reads running text, which the run's data does not hold: use evaluation=loss")
        assert vocabulary.specials.mask is not None, "an objective that hides tokens has checked it"
        self.config, self.context, self.mask = config, context, vocabulary.specials.mask
        self.head = next(head for head, need in needs.heads.items() if need.kind == "vocabulary")
        self.reader = context.data.reader(config.split, WINDOWS)
        self.maskable = Maskable(vocabulary)

    def batches(self) -> Iterator[TextBatch]:
        """This process's share of the samples, in a fixed order."""
        context, config = self.context, self.config
        batches = evaluation_batches(
            self.reader,
            batch_size=config.batch_size,
            rank=context.rank,
            world_size=context.world_size,
            max_samples=config.max_samples,
            seed=ORDER_SEED,
        )
        for batch in context.guard(batches):
            assert isinstance(batch, TextBatch)
            yield batch

    def score(self, model: nn.Module, text: SequenceInputs, hidden: np.ndarray) -> Tensor:
        """[3] float64: nats lost on the `hidden` [B,T] tokens of a text, how many of them the model says right, and their number. One forward;
        the vocabulary is scored at these positions only."""
        context, where = self.context, torch.from_numpy(hidden)
        predict_at, targets = chosen(text.token_ids.masked_fill(~where, IGNORED))
        read = text.token_ids.masked_fill(where, self.mask)
        seen = replace(text, token_ids=read, predict_at=predict_at, only_predicted=True).to(context.device)
        scorer: Any = model
        with context.autocast():
            losses, right = scorer.scorer(seen).heads[self.head].evaluate(targets.to(context.device))
        return torch.tensor([float(losses.cpu().double().sum()), float(right.sum()), float(hidden.sum())], dtype=torch.float64)

    def summary(self, sums: Tensor) -> Scores:
        """Of the sums [3] that `score` gave, added over all batches and processes.

        Raises:
            DataError: nothing could be hidden.
            NumericError: the model gave no numbers.
        """
        nats, right, predicted = sums.tolist()
        if not predicted:
            raise DataError(f"data.{self.config.split}: no row holds a token that may be hidden")
        if not math.isfinite(nats):
            raise NumericError(f"the {self.config.split} loss on hidden tokens is {nats}: the model diverged; train with a lower optimizer.lr")
        return Scores(nats=nats, right=int(right), predicted=int(predicted), bits_per_byte=bits_per_byte(nats, predicted, self.reader))
