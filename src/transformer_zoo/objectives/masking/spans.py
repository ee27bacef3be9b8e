"""Spans: runs of tokens or words, hidden at once."""

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np

from transformer_zoo.objectives.masking.lengths import GeometricLengthsConfig, SpanLengthsConfig
from transformer_zoo.objectives.masking.pieces import OUTSIDE, Pieces
from transformer_zoo.objectives.masking.units import NO_WORDS, WHICH, Unit, UnitConfig
from transformer_zoo.objectives.masking.words import Words, firsts
from transformer_zoo.randomness import uniform, whole
from transformer_zoo.records import Rows, TokenBatch, Vocabulary
from transformer_zoo.settings import OneOf, PositiveInt


@dataclass(kw_only=True)
class SpanUnitConfig(UnitConfig):
    """Runs of tokens or words with lengths from a distribution (SpanBERT, https://arxiv.org/abs/1907.10529; n-grams: ALBERT, XLNet)."""

    lengths: SpanLengthsConfig = field(default_factory=GeometricLengthsConfig)
    """How long spans are, in their members."""
    of: Annotated[str, OneOf("word", "token")] = "word"
    """The members of a span: whole words, of which none is cut, or tokens."""
    context: PositiveInt = 1
    """A span stands at a random place of a stretch of this many times its length, the rest of which stays visible as long as there are enough spans
    (XLNet: 6); 1: any two spans may touch."""

    def row_problems(self, sequence_length: int) -> list[str]:
        longest = self.lengths.longest * self.context
        if longest <= sequence_length:
            return []
        stretch = "" if self.context == 1 else f" in stretches of up to {longest}"
        return [
            f"objective.unit hides spans of up to {self.lengths.longest} {self.of}s{stretch}, longer than data.sequence_length={sequence_length}: "
            "choose longer rows, or shorter spans by objective.unit.lengths"
        ]

    def vocabulary_problems(self, vocabulary: Vocabulary) -> list[str]:
        if self.of == "token" or vocabulary.words is not None:
            return []
        return [f"{NO_WORDS}; objective.unit.of=token makes spans of tokens"]

    def build(self, vocabulary: Vocabulary) -> Unit:
        if self.of == "token":
            return SpanUnit(self.lengths, None, self.context)
        assert vocabulary.words is not None, "the assembly refuses a tokenizer that does not tell words"
        return SpanUnit(self.lengths, Words(vocabulary, vocabulary.words), self.context)


class SpanUnit(Unit):
    """Each row is a ring that is cut into spans all around, from a random place on; then spans are taken in random order, the last one in part.

    So spans never overlap, every place is equally likely to be hidden, and lengths are distributed as asked for but for the last span of a ring,
    which is what is left. A span that meets a special token or the end of the row goes on behind it.
    """

    def __init__(self, lengths: SpanLengthsConfig, words: Words | None, context: int) -> None:
        self._lengths, self._words, self._context = lengths, words, context

    def pieces(self, batch: TokenBatch, rows: Rows, maskable: np.ndarray) -> Pieces:
        if self._words is not None:
            members = self._words.numbers(batch.token_ids.numpy(), maskable)
        else:
            members = np.maximum(np.cumsum(maskable, axis=1) - 1, 0)  # [B,T]
        n_members = np.where(maskable, members + 1, 0).max(axis=1, initial=0).clip(min=1)  # [B]
        draws = np.take_along_axis(uniform(rows, WHICH, maskable.shape[1]), firsts(members, maskable), axis=1)  # [B,W] of each member
        turn = whole(uniform(rows, "spans: turn", 1)[:, 0], n_members)  # [B]: the member at which the ring is cut
        keys = np.take_along_axis(self._keys(rows, draws, n_members, turn), members, axis=1)
        return Pieces(
            keys=np.where(maskable, keys, OUTSIDE),
            wholes=None if self._words is None else np.where(maskable, members, -1),
            places=(members - turn[:, None]) % n_members[:, None],
        )

    def _keys(self, rows: Rows, draws: np.ndarray, n_members: np.ndarray, turn: np.ndarray) -> np.ndarray:
        """[B,W] of every member: the draw at the first member of its span, which orders the spans."""
        width = draws.shape[1]
        column, row = np.arange(width), np.arange(len(draws))[:, None]
        spans = self._lengths.drawn(uniform(rows, "spans: lengths", width))  # [B,W]: as many as could be needed
        ends = np.cumsum(spans * self._context, axis=1)
        begins = np.zeros((len(draws), width + 1), dtype=bool)
        begins[row, np.minimum(np.pad(ends, ((0, 0), (1, 0)))[:, :-1], width)] = True
        begins = begins[:, :-1]  # on the ring, from its cut on
        first = np.maximum.accumulate(np.where(begins, column, 0), axis=1)
        keys = np.take_along_axis(draws, (first + turn[:, None]) % n_members[:, None], axis=1)
        if self._context > 1:
            number = np.cumsum(begins, axis=1) - 1
            length = np.take_along_axis(spans, number, axis=1)
            offset = whole(np.take_along_axis(uniform(rows, "spans: place", width), number, axis=1), 1 + (self._context - 1) * length)
            inside = (column - first >= offset) & (column - first < offset + length)
            own = np.take_along_axis(draws, (column + turn[:, None]) % n_members[:, None], axis=1)
            share = 1 / self._context  # of the ring's tokens that stand in spans: these come first, and keys stay uniform in [0, 1)
            keys = np.where(inside, keys * share, share + own * (1 - share))
        return np.take_along_axis(keys, (column - turn[:, None]) % n_members[:, None], axis=1)
