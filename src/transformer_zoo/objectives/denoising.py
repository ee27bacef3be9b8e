"""Denoising: write a text of which a spoilt copy is read."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from transformer_zoo.objectives import corruption
from transformer_zoo.objectives.base import Objective, ObjectiveConfig
from transformer_zoo.objectives.corruption import ended, packed
from transformer_zoo.objectives.reconstruction import Reconstruction, ending_problems
from transformer_zoo.objectives.token_prediction import HEADS
from transformer_zoo.records import Batch, Example, Needs, TextBatch, TokenBatch, TranslationInputs, Vocabulary
from transformer_zoo.settings import Probability, Range, Share


@dataclass(kw_only=True)
class DenoisingConfig(ObjectiveConfig):
    """The text that is read has its sentences in another order, and spans of it are replaced by single [MASK] tokens; what is written is the whole
    text (Lewis et al. 2020, https://arxiv.org/abs/1910.13461). 0 switches a kind of noise off."""

    mask_ratio: Probability = 0.3
    """Share of a row's tokens that are hidden in spans, each shown as one [MASK] (mBART: 0.35)."""
    mean_span: Annotated[float, Range(1)] = 3.0
    """Mean of the Poisson distribution from which lengths of spans are drawn; an empty span puts a [MASK] in (mBART: 3.5)."""
    permuted_share: Share = 1.0
    """Share of a row's sentences that change places. Sentences end at full stops."""
    deleted_share: Probability = 0.0
    """Share of a row's tokens that are missing without a sign."""
    rotated_share: Share = 0.0
    """Share of rows that begin at a random token and go on from their front."""

    def problems(self) -> list[str]:
        """Some noise there must be."""
        if self.mask_ratio or self.permuted_share or self.deleted_share or self.rotated_share:
            return []
        return ["mask_ratio, permuted_share, deleted_share and rotated_share are all 0, so that the text would just be copied: choose one above 0"]

    def needs(self) -> Needs:
        return Needs(batch=TextBatch, inputs=TranslationInputs, causal=True, heads=HEADS, start="end")

    def longest(self, sequence_length: int) -> int:
        return sequence_length + 1  # the end token

    def vocabulary_problems(self, vocabulary: Vocabulary) -> list[str]:
        found = []
        if self.mask_ratio and vocabulary.specials.mask is None:
            found.append("hides spans, but the tokenizer has no mask token: train a tokenizer, or choose another tokenizer.path")
        if self.permuted_share and not vocabulary.full_stops:
            found.append("changes the order of sentences, but the tokenizer has no token that is a full stop: set objective.permuted_share=0")
        return found + ending_problems(vocabulary)

    def build(self, *, vocabulary: Vocabulary, n_classes: int | None = None) -> Objective:
        return Denoising(self, vocabulary)


class Denoising(Reconstruction):
    """Term `denoising`. Sentences change places first, then tokens are deleted, spans hidden and the row rotated. The decoder starts with the end
    token, as BART's does.

    Exactly the share of tokens that is asked for is hidden; in the paper's own code spans may overlap and hide fewer.
    """

    def __init__(self, config: DenoisingConfig, vocabulary: Vocabulary) -> None:
        specials = vocabulary.specials
        assert specials.end is not None, "the assembly refuses a tokenizer without an end token"
        super().__init__("denoising", config.needs(), vocabulary)
        self.config, self.pad, self.end, self.mask = config, specials.pad, specials.end, specials.mask
        self.full_stops = list(vocabulary.full_stops)

    def prepare(self, batch: Batch, *, training: bool = True) -> Example:
        assert isinstance(batch, TokenBatch)
        ids, valid = batch.token_ids.numpy(), batch.valid.numpy()  # [B,T] each
        spoilt, spoilt_valid = self.spoilt(batch, ids, valid)
        return self.example(packed(*ended(spoilt, spoilt_valid, self.end), self.pad), packed(*ended(ids, valid, self.end), self.pad))

    def spoilt(self, batch: Batch, ids: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What is read of rows [B,T], without the end token: ids [B,S] and validity."""
        config, rows, lengths = self.config, batch.rows, valid.sum(axis=1)
        if config.permuted_share:
            order = corruption.sentence_order(rows, np.isin(ids, self.full_stops), valid, config.permuted_share)
            ids = np.take_along_axis(ids, order, axis=1)
        if config.deleted_share:
            kept = valid & ~corruption.deleted(rows, lengths, config.deleted_share, ids.shape[1])
            ids, valid = packed(ids, kept, self.pad)
            lengths = valid.sum(axis=1)
        if config.mask_ratio:
            assert self.mask is not None, "the assembly refuses a tokenizer without a mask token"
            ids, lengths = corruption.infilled(rows, ids, lengths, ratio=config.mask_ratio, mean_span=config.mean_span, mask=self.mask)
        if config.rotated_share:
            ids = np.take_along_axis(ids, corruption.rotated(rows, lengths, config.rotated_share, ids.shape[1]), axis=1)
        return ids, np.arange(ids.shape[1]) < lengths[:, None]
