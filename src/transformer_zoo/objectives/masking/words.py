"""Which tokens of a row are one word."""

import numpy as np

from transformer_zoo.records import Vocabulary, WordSpelling


class Words:
    """Numbers the words of rows by how the tokenizer spells them."""

    def __init__(self, vocabulary: Vocabulary, spelling: WordSpelling) -> None:
        self._continues, self._closes = np.zeros(vocabulary.size, dtype=bool), np.zeros(vocabulary.size, dtype=bool)
        self._continues[list(spelling.continues)] = True
        self._closes[list(spelling.closes)] = True

    def numbers(self, ids: np.ndarray, maskable: np.ndarray) -> np.ndarray:
        """[B,T] int64 of ids [B,T]: 0, 1 … for the words of each row from the left; arbitrary where a token may not be hidden. A word that a row
        begins in the middle of is one, too."""
        goes_on = self._continues[ids[:, 1:]] & maskable[:, :-1] & ~self._closes[ids[:, :-1]]
        begins = maskable.copy()
        begins[:, 1:] &= ~goes_on
        return np.maximum(np.cumsum(begins, axis=1) - 1, 0)


def firsts(numbers: np.ndarray, maskable: np.ndarray) -> np.ndarray:
    """[B,W]: the column at which each part of a row begins, of the parts numbered `numbers` [B,T]; 0 behind the last one."""
    width = int(numbers.max(initial=0)) + 1
    first = np.zeros((len(numbers), width), dtype=np.int64)
    begins = maskable.copy()
    begins[:, 1:] &= ~maskable[:, :-1] | (numbers[:, 1:] != numbers[:, :-1])
    row, column = np.nonzero(begins)
    first[row, numbers[row, column]] = column
    return first
