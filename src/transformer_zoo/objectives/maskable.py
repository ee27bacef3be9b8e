"""Which tokens of a text may be hidden."""

import numpy as np

from transformer_zoo.records import TokenBatch, Vocabulary


class Maskable:
    """Ordinary tokens and unknown words; specials, sentinels and padding never."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        special = np.zeros(vocabulary.size, dtype=bool)
        special[[*vocabulary.specials.ids(), *vocabulary.sentinels]] = True
        self.ordinary_ids = np.flatnonzero(~special)
        """The tokens that may be put in at random: an unknown word is a word, it may be hidden and asked for, but is never put in."""
        if vocabulary.specials.unknown is not None:
            special[vocabulary.specials.unknown] = False
        self._never = special

    def __call__(self, batch: TokenBatch) -> np.ndarray:
        """[B,T] bool: the positions that may be hidden."""
        positions: np.ndarray = batch.valid.numpy() & ~self._never[batch.token_ids.numpy()]
        return positions
