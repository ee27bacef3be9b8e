"""Collocations learned from the training text, hidden at once."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from transformer_zoo.objectives.masking.pieces import Pieces
from transformer_zoo.objectives.masking.units import Unit, UnitConfig, whole_pieces
from transformer_zoo.randomness import hash_words
from transformer_zoo.records import CollocationNeed, Collocations, Rows, TokenBatch, Vocabulary
from transformer_zoo.settings import PositiveInt, Range


@dataclass(kw_only=True)
class PMIUnitConfig(UnitConfig):
    """Runs of tokens that belong together by pointwise mutual information in the training text, and single tokens elsewhere (Levine et al. 2021,
    https://arxiv.org/abs/2010.01825), so that what is hidden cannot be told from the rest of a collocation. They are learned once, and kept
    beside the prepared data."""

    collocations: PositiveInt = 20_000
    """Collocations at most (the paper: 800,000, from 16 GB of text)."""
    min_count: Annotated[int, Range(2)] = 10
    """Runs that are seen less often are none."""
    max_length: Annotated[int, Range(2, 8)] = 5
    """Tokens of the longest."""

    def collocation_need(self) -> CollocationNeed:
        return CollocationNeed(size=self.collocations, min_count=self.min_count, longest=self.max_length)

    def build(self, vocabulary: Vocabulary) -> Unit:
        return PMIUnit(vocabulary.collocations)


class PMIUnit(Unit):
    """A row is cut from the left, each time behind the longest collocation that begins there."""

    def __init__(self, collocations: Collocations | None) -> None:
        self._collocations = collocations

    def pieces(self, batch: TokenBatch, rows: Rows, maskable: np.ndarray) -> Pieces:
        assert self._collocations is not None, "the assembly gives the vocabulary its collocations"
        begins = cut(self._longest(batch.token_ids.numpy(), maskable, self._collocations)) & maskable
        return whole_pieces(np.maximum(np.cumsum(begins, axis=1) - 1, 0), rows, maskable)

    def _longest(self, ids: np.ndarray, maskable: np.ndarray, collocations: Collocations) -> np.ndarray:
        """[B,T]: tokens of the longest collocation that begins at each place; 1 where none does."""
        longest = np.ones(ids.shape, dtype=np.int64)
        for length, hashes in sorted(collocations.by_length.items()):
            n_places = ids.shape[1] - length + 1
            if n_places < 1 or not len(hashes):
                continue
            windows = [slice(i, i + n_places) for i in range(length)]
            found = hash_words(*(ids[:, window] for window in windows))  # [B,places]
            known = hashes[np.minimum(np.searchsorted(hashes, found), len(hashes) - 1)] == found
            known &= np.logical_and.reduce([maskable[:, window] for window in windows])
            longest[:, :n_places][known] = length
        return longest


def cut(lengths: np.ndarray) -> np.ndarray:
    """[B,T] bool: where pieces begin when each has the length [B,T] that stands at its first place."""
    begins, left = np.zeros(lengths.shape, dtype=bool), np.zeros(len(lengths), dtype=np.int64)
    for column in range(lengths.shape[1]):
        begins[:, column] = left == 0
        left = np.where(left == 0, lengths[:, column], left) - 1
    return begins
