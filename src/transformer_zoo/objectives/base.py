"""The contract of an objective."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from transformer_zoo.records import IGNORED, Batch, Example, Inputs, LossReport, MetricReport, ModelOutput, Needs, Vocabulary
from transformer_zoo.settings import Config

PREDICTION_MULTIPLE = 64
"""Numbers of chosen positions are rounded up to this, so that compiled graphs are reused."""
PREDICTION_SIZES = 16
"""Where there are many, to the next of this many sizes between a power of two and the next: at most a sixteenth more."""


@dataclass(kw_only=True)
class ObjectiveConfig(Config):
    """What a model is trained to do."""

    slot: ClassVar[str | None] = "objective"
    takes_turns: ClassVar[bool] = False
    """Whether it is several objectives, of which each batch is given to one."""

    def needs(self) -> Needs:
        """What it asks of data and model, known before anything is read (numbers of classes excepted)."""
        raise NotImplementedError("abstract")

    def fitted(self, accepts: type[Inputs]) -> Self:
        """These settings with what they leave to the model decided for one that reads `accepts`; themselves where there is nothing to decide."""
        return self

    def longest(self, sequence_length: int) -> int:
        """Tokens of the longest sequence that a model reads of rows of `sequence_length` tokens."""
        return sequence_length

    def row_problems(self, sequence_length: int) -> list[str]:
        """Why it cannot be trained on rows of this length."""
        return []

    def vocabulary_problems(self, vocabulary: Vocabulary) -> list[str]:
        """What it misses in a tokenizer's vocabulary; each line goes on after the objective's name."""
        return []

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> "Objective":
        """The objective for a tokenizer's vocabulary and, where the data is labelled or tagged, its number of classes."""
        raise NotImplementedError("abstract")


class Objective(ABC):
    """Turns batches into examples and scores what a model makes of them. Has no parameters."""

    weights: dict[str, float]
    """By loss term."""
    language_term: str | None = None
    """The term that is a cross-entropy per token: perplexity and bits per byte are told from it."""
    rewrites_tokens: bool = False
    """Whether the model sees other tokens than the batch holds; of the parts of a combination at most one may."""
    ledger: Mapping[str, tuple[str, str | None]] = MappingProxyType({})
    """What a run tells of the sums in `Example.ledger`: name → the sum that is told, and the sum it is a share of; None: the total so far."""

    @abstractmethod
    def needs(self) -> Needs:
        """What it asks of data and model."""

    @property
    def predicted_terms(self) -> Sequence[str]:
        """The terms whose counts are the tokens that are predicted; of one without a cross-entropy per token whatever its terms count: texts, tokens
        that are judged."""
        return list(self.weights) if self.language_term is None else [self.language_term]

    def views(self) -> "Sequence[Objective]":
        """What is measured on held-out samples, one after another on all of them: the objective itself, unless it is several that take turns."""
        return [self]

    def shares_of_views(self) -> Sequence[float]:
        """Which share of the training batches each view is given."""
        return [1.0]

    @property
    def held_out_weights(self) -> dict[str, float]:
        """By held-out loss term: the held-out loss is Σ weight · mean of each."""
        return self.weights

    def scores_like(self, other: "Objective") -> bool:
        """Whether `loss` does the same as that of `other` for an example of `other`."""
        return self is other

    @abstractmethod
    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        """Inputs, targets and counts; a pure function of the batch (its rows are the key of all draws)."""

    @abstractmethod
    def loss(self, output: ModelOutput, example: Example) -> LossReport:
        """One sum per term."""

    @abstractmethod
    def evaluate(self, output: ModelOutput, example: Example) -> MetricReport:
        """Held-out sums and counts: `loss/<term>` in nats without smoothing, and accuracies."""


def chosen(targets: Tensor) -> tuple[Tensor, Tensor]:
    """From targets [B,T] (IGNORED where nothing is predicted) the flat positions [N] that are scored and their targets [N]; N is a
    `padded_count`, filled up with position 0 and IGNORED."""
    flat = targets.numpy().reshape(-1)
    positions = np.flatnonzero(flat != IGNORED)
    n_filled = padded_count(len(positions))
    predict_at = np.zeros(n_filled, dtype=np.int64)
    predict_at[: len(positions)] = positions
    filled_targets = np.full(n_filled, IGNORED, dtype=np.int64)
    filled_targets[: len(positions)] = flat[positions]
    return torch.from_numpy(predict_at), torch.from_numpy(filled_targets)


def padded_count(n: int) -> int:
    """The size that serves `n` positions: a multiple of 64, never 0, and one of few, so that batches which differ a little have the same."""
    octave = 1 << max(n - 1, 1).bit_length()  # n is in (octave / 2, octave]
    step = max(PREDICTION_MULTIPLE, octave // 2 // PREDICTION_SIZES)
    return -(-max(n, 1) // step) * step


def sums(total: Tensor, count: int) -> Tensor:
    """[2] float64 on the CPU (not every device has that type): a sum and how many it is over."""
    return torch.tensor([float(total), float(count)], dtype=torch.float64)
