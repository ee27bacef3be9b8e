"""Span corruption: write the spans that are missing from a text."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from transformer_zoo.objectives.base import Objective, ObjectiveConfig
from transformer_zoo.objectives.corruption import ended, noise_spans, packed, span_counts
from transformer_zoo.objectives.reconstruction import Reconstruction, ending_problems
from transformer_zoo.objectives.token_prediction import HEADS
from transformer_zoo.records import Batch, Example, Needs, TextBatch, TokenBatch, TranslationInputs, Vocabulary
from transformer_zoo.settings import PositiveInt, Range, Ratio


@dataclass(kw_only=True)
class SpanCorruptionConfig(ObjectiveConfig):
    """Each missing span is one sentinel token in the text that is read; what is written is every sentinel with its span, and the end token
    (Raffel et al. 2020, https://arxiv.org/abs/1910.10683). `data.sequence_length` counts the tokens of the text: 568 give 512 to read and 114
    to write."""

    density: Ratio = 0.15
    """Share of a row's tokens that are missing."""
    mean_span: Annotated[float, Range(1)] = 3.0
    """Tokens of a span on average."""
    sentinels: PositiveInt = 100
    """Sentinel tokens, <extra_id_0> and so on: the most spans that a row can have. A tokenizer that is trained here gets them."""

    def needs(self) -> Needs:
        return Needs(batch=TextBatch, inputs=TranslationInputs, causal=True, heads=HEADS, sentinels=self.sentinels, start="pad")

    def lengths(self, sequence_length: int) -> tuple[int, int]:
        """Tokens read and tokens written for a row of so many tokens, end tokens included."""
        n_noise, n_spans = (int(count[0]) for count in span_counts(np.array([sequence_length]), self.density, self.mean_span))
        return sequence_length - n_noise + n_spans + 1, n_noise + n_spans + 1

    def longest(self, sequence_length: int) -> int:
        return max(self.lengths(sequence_length))

    def row_problems(self, sequence_length: int) -> list[str]:
        n_spans = int(span_counts(np.array([sequence_length]), self.density, self.mean_span)[1][0])
        if n_spans <= self.sentinels:
            return []
        return [
            f"data.sequence_length={sequence_length} gives {n_spans} missing spans, more than objective.sentinels={self.sentinels}: choose shorter "
            "rows, a larger objective.mean_span or more sentinels"
        ]

    def vocabulary_problems(self, vocabulary: Vocabulary) -> list[str]:
        found = []
        if len(vocabulary.sentinels) < self.sentinels:
            found.append(
                f"marks missing spans by {self.sentinels} sentinel tokens (<extra_id_0>, <extra_id_1> …), of which the tokenizer has "
                f"{len(vocabulary.sentinels)}: train a tokenizer, choose another tokenizer.path, or a smaller objective.sentinels"
            )
        return found + ending_problems(vocabulary)

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return SpanCorruption(self, vocabulary)


class SpanCorruption(Reconstruction):
    """Term `span_corruption`. A row of a single token misses nothing. The decoder starts with the padding token, as T5's does.

    Sentinels are predicted too, so the loss is none per token of text: no perplexity and no bits per byte are told from it.
    """

    def __init__(self, config: SpanCorruptionConfig, vocabulary: Vocabulary) -> None:
        assert vocabulary.specials.end is not None, "the assembly refuses a tokenizer without an end token"
        super().__init__("span_corruption", config.needs(), vocabulary)
        self.language_term = None
        self.density, self.mean_span = config.density, config.mean_span
        self.pad, self.end = vocabulary.specials.pad, vocabulary.specials.end
        self.sentinels = np.array(vocabulary.sentinels[: config.sentinels])

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        assert isinstance(batch, TokenBatch)
        ids, valid = batch.token_ids.numpy(), batch.valid.numpy()  # [B,T] each
        noise = noise_spans(batch.rows, valid.sum(axis=1), self.density, self.mean_span, ids.shape[1])
        begins = noise & ~np.pad(noise, ((0, 0), (1, 0)))[:, :-1]
        sentinels = self.sentinels[np.maximum(np.cumsum(begins, axis=1) - 1, 0)]  # [B,T]: of the latest span
        source = ended(np.where(begins, sentinels, ids), valid & (~noise | begins), self.end)
        pairs, keep = np.stack([sentinels, ids], axis=2), np.stack([begins, noise], axis=2)  # [B,T,2]: a sentinel may stand before each token
        target = ended(pairs.reshape(len(ids), -1), keep.reshape(len(ids), -1), self.end)
        return self.example(packed(*source, self.pad), packed(*target, self.pad))
