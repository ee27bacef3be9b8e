"""What is hidden at once: the contract of a unit, and the units that need nothing else."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from transformer_zoo.objectives.masking.pieces import OUTSIDE, Pieces
from transformer_zoo.objectives.masking.words import Words, firsts
from transformer_zoo.randomness import uniform
from transformer_zoo.records import CollocationNeed, Rows, TextBatch, TokenBatch, Vocabulary
from transformer_zoo.settings import Config

WHICH = "mask: which"
"""The purpose of the draws that order tokens. A unit takes the draw at the place where a piece begins, so that pieces of one token are hidden as
single tokens are."""
NO_WORDS = (
    "hides whole words, but the tokenizer's spelling does not tell where words begin (there is no ##, Ġ, ▁ or </w>): choose objective/unit=token, "
    "or train a tokenizer"
)


@dataclass(kw_only=True)
class UnitConfig(Config):
    """What is hidden at once."""

    slot: ClassVar[str | None] = "objective/unit"
    batch: ClassVar[type[TextBatch]] = TextBatch
    """The batches it needs where an objective reads text."""

    def problems(self) -> list[str]:
        """What is wrong with the settings taken together."""
        return []

    def row_problems(self, sequence_length: int) -> list[str]:
        """Why it does not go with rows of this length."""
        return []

    def vocabulary_problems(self, vocabulary: Vocabulary) -> list[str]:
        """What it misses in a tokenizer's vocabulary; each line goes on after the objective's name."""
        return []

    def collocation_need(self) -> CollocationNeed | None:
        """The collocations that the vocabulary must hold; None: none."""
        return None

    def build(self, vocabulary: Vocabulary) -> "Unit":
        raise NotImplementedError("abstract")


class Unit(ABC):
    """Divides the tokens that may be hidden into pieces."""

    @abstractmethod
    def pieces(self, batch: TokenBatch, rows: Rows, maskable: np.ndarray) -> Pieces:
        """The pieces of a batch whose tokens `maskable` [B,T] may be hidden; all draws come from `rows`, which may differ from the batch's own
        where masks repeat."""


@dataclass(kw_only=True)
class TokenUnitConfig(UnitConfig):
    """Single tokens (Devlin et al. 2019, https://arxiv.org/abs/1810.04805)."""

    def build(self, vocabulary: Vocabulary) -> Unit:
        return TokenUnit()


class TokenUnit(Unit):
    """Each token by itself."""

    def pieces(self, batch: TokenBatch, rows: Rows, maskable: np.ndarray) -> Pieces:
        return Pieces(keys=np.where(maskable, uniform(rows, WHICH, maskable.shape[1]), OUTSIDE), single=True)


@dataclass(kw_only=True)
class WholeWordUnitConfig(UnitConfig):
    """All tokens of a word (BERT's whole-word masking), as the tokenizer spells words. Where every character or byte is a token, a word is a run of
    letters and digits, and any other character is a piece of its own."""

    def vocabulary_problems(self, vocabulary: Vocabulary) -> list[str]:
        return [NO_WORDS] if vocabulary.words is None else []

    def build(self, vocabulary: Vocabulary) -> Unit:
        assert vocabulary.words is not None, "the assembly refuses a tokenizer that does not tell words"
        return WholeWordUnit(Words(vocabulary, vocabulary.words))


class WholeWordUnit(Unit):
    """Each word whole."""

    def __init__(self, words: Words) -> None:
        self._words = words

    def pieces(self, batch: TokenBatch, rows: Rows, maskable: np.ndarray) -> Pieces:
        numbers = self._words.numbers(batch.token_ids.numpy(), maskable)
        return whole_pieces(numbers, rows, maskable)


def whole_pieces(numbers: np.ndarray, rows: Rows, maskable: np.ndarray) -> Pieces:
    """Pieces that are not cut: the parts of rows that `numbers` [B,T] counts from the left."""
    draws = uniform(rows, WHICH, maskable.shape[1])  # [B,T]
    keys = np.take_along_axis(np.take_along_axis(draws, firsts(numbers, maskable), axis=1), numbers, axis=1)
    return Pieces(keys=np.where(maskable, keys, OUTSIDE), wholes=np.where(maskable, numbers, -1))
