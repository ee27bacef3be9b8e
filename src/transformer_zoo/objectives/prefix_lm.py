"""Prefix language modelling: go on with a text of which a first part is read from both sides."""

from dataclasses import dataclass, replace
from typing import Annotated, Self

import numpy as np
import torch

from transformer_zoo.objectives.base import Objective, ObjectiveConfig, chosen
from transformer_zoo.objectives.causal_lm import predicted
from transformer_zoo.objectives.corruption import ended, packed
from transformer_zoo.objectives.reconstruction import Reconstruction, ending_problems
from transformer_zoo.objectives.token_prediction import HEADS, TokenPrediction
from transformer_zoo.randomness import uniform, whole
from transformer_zoo.records import IGNORED, Batch, Example, Inputs, Needs, Rows, SequenceInputs, TextBatch, TokenBatch, TranslationInputs, Vocabulary
from transformer_zoo.settings import OneOf, Ratio

ONE_SEQUENCE, SOURCE_AND_TARGET = "one_sequence", "source_and_target"
FORM_FOR: dict[type[Inputs], str] = {SequenceInputs: ONE_SEQUENCE, TranslationInputs: SOURCE_AND_TARGET}
TERM = "prefix_lm"


@dataclass(kw_only=True)
class PrefixLMConfig(ObjectiveConfig):
    """A row is split in two; the tokens of its first part, the prefix, see each other, and those behind it are predicted one after another (Dong et
    al. 2019, https://arxiv.org/abs/1905.03197; Raffel et al. 2020, https://arxiv.org/abs/1910.10683). A decoder reads all as one sequence with a
    prefix mask; an encoder-decoder encodes the prefix and writes the rest."""

    target_share: Ratio | None = None
    """Share of a row's tokens that are predicted, at least one and never all; null: the place of the split is uniformly random, as T5's is."""
    form: Annotated[str, OneOf(ONE_SEQUENCE, SOURCE_AND_TARGET)] | None = None
    """What the model reads: `one_sequence` (a decoder) or `source_and_target` (an encoder-decoder); null: whichever of them the model reads."""

    def fitted(self, accepts: type[Inputs]) -> Self:
        return replace(self, form=FORM_FOR.get(accepts)) if self.form is None else self

    def needs(self) -> Needs:
        if self.form == SOURCE_AND_TARGET:
            return Needs(batch=TextBatch, inputs=TranslationInputs, causal=True, heads=HEADS, start="pad")
        return Needs(batch=TextBatch, inputs=SequenceInputs, causal=True, heads=HEADS, lookahead=1, prefix=True)

    def vocabulary_problems(self, vocabulary: Vocabulary) -> list[str]:
        return ending_problems(vocabulary) if self.form == SOURCE_AND_TARGET else []

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return PrefixToTarget(self, vocabulary) if self.form == SOURCE_AND_TARGET else PrefixInSequence(self, vocabulary)


def prefix_lengths(rows: Rows, lengths: np.ndarray, target_share: float | None) -> np.ndarray:
    """[B] tokens of each row's prefix, of `lengths` [B]: at least one, and fewer than all where there are two."""
    most = np.maximum(lengths - 1, 1)
    if target_share is not None:
        return np.clip(lengths - np.round(lengths * target_share).astype(np.int64), 1, most)
    return 1 + whole(uniform(rows, "prefix: split", 1)[:, 0], most)


class PrefixInSequence(TokenPrediction):
    """Term `prefix_lm`, for decoders. As in causal language modelling, the token that begins a document is not predicted, nor anything across the
    border between masked documents; a prefix ends with its document there, too."""

    rewrites_tokens = True  # not the tokens, but who sees whom

    def __init__(self, config: PrefixLMConfig, vocabulary: Vocabulary) -> None:
        super().__init__(TERM, config.needs())
        self.target_share, self.vocabulary = config.target_share, vocabulary

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        assert isinstance(batch, TokenBatch)
        lengths = batch.valid.sum(dim=1).numpy()  # of rows of T+1 tokens
        prefix = torch.from_numpy(prefix_lengths(batch.rows, lengths, self.target_share))  # [B]
        behind = torch.arange(1, batch.token_ids.shape[1]) >= prefix.unsqueeze(1)  # [B,T]
        scored = predicted(batch, self.vocabulary) & behind
        predict_at, targets = chosen(batch.token_ids[:, 1:].masked_fill(~scored, IGNORED))
        valid = batch.valid[:, :-1]
        inputs = SequenceInputs(
            token_ids=batch.token_ids[:, :-1].contiguous(),
            valid=None if bool(valid.all()) else valid,
            document_ids=None if batch.document_ids is None else batch.document_ids[:, :-1],
            prefix_length=prefix,
            predict_at=predict_at,
        )
        return Example(inputs=inputs, targets={TERM: targets}, counts={TERM: int(scored.sum())}, tokens=int(valid.sum()))


class PrefixToTarget(Reconstruction):
    """Term `prefix_lm`, for encoder-decoders. As in T5, both parts are followed by the end token, and the decoder starts with the padding token."""

    def __init__(self, config: PrefixLMConfig, vocabulary: Vocabulary) -> None:
        assert vocabulary.specials.end is not None, "the assembly refuses a tokenizer without an end token"
        super().__init__(TERM, config.needs(), vocabulary)
        self.target_share = config.target_share
        self.pad, self.end = vocabulary.specials.pad, vocabulary.specials.end

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        assert isinstance(batch, TokenBatch)
        ids, valid = batch.token_ids.numpy(), batch.valid.numpy()  # [B,T] each
        prefix = prefix_lengths(batch.rows, valid.sum(axis=1), self.target_share)
        in_front = np.arange(ids.shape[1]) < prefix[:, None]
        source, target = ended(ids, valid & in_front, self.end), ended(ids, valid & ~in_front, self.end)
        return self.example(packed(*source, self.pad), packed(*target, self.pad))
