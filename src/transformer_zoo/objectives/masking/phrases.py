"""Phrases that the data marks, hidden at once."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from transformer_zoo.objectives.masking.pieces import Pieces
from transformer_zoo.objectives.masking.units import Unit, UnitConfig, whole_pieces
from transformer_zoo.records import MarkedTextBatch, Rows, TextBatch, TokenBatch, Vocabulary


@dataclass(kw_only=True)
class PhraseUnitConfig(UnitConfig):
    """All tokens of a phrase or entity that the data marks, and single tokens elsewhere (Sun et al. 2019, ERNIE, https://arxiv.org/abs/1904.09223).
    data=labelled gives them: texts with `spans`, or words with tags B-… and I-…"""

    batch: ClassVar[type[TextBatch]] = MarkedTextBatch

    def build(self, vocabulary: Vocabulary) -> Unit:
        return PhraseUnit()


class PhraseUnit(Unit):
    """Each phrase whole."""

    def pieces(self, batch: TokenBatch, rows: Rows, maskable: np.ndarray) -> Pieces:
        assert isinstance(batch, MarkedTextBatch)
        begins = maskable.copy()
        begins[:, 1:] &= ~(batch.continues.numpy()[:, 1:] & maskable[:, :-1])
        return whole_pieces(np.maximum(np.cumsum(begins, axis=1) - 1, 0), rows, maskable)
