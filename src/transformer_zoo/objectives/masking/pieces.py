"""Taking pieces of rows in a random order until enough tokens are taken.

Axis letters: B rows, T tokens of the longest row. Whatever the unit, a longer take begins with the shorter one: what is predicted is a part of
what is hidden, and masks of growing ratios are nested.
"""

from dataclasses import dataclass

import numpy as np

OUTSIDE = 2.0
"""The key of a token that is never taken; those of others are below it."""


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """How rows fall into pieces."""

    keys: np.ndarray
    """[B,T] float64: pieces are taken in ascending order of their keys, which the tokens of a piece share; OUTSIDE where nothing may be taken."""
    wholes: np.ndarray | None = None
    """[B,T] int64: tokens of a row with the same number are taken together or not at all; None: any piece may be cut."""
    places: np.ndarray | None = None
    """[B,T] int64: the order in which the tokens of a piece are taken, where it may be cut; None: from left to right."""
    single: bool = False
    """Every token is a piece by itself, and no two keys of a row are alike."""


class Order:
    """The tokens of rows in the order in which they are taken."""

    def __init__(self, pieces: Pieces, coin: np.ndarray | None = None) -> None:
        """`coin` [B] in [0, 1) decides about a piece that cannot be cut where it crosses the limit."""
        self.keys, self.wholes, self.single = pieces.keys, pieces.wholes, pieces.single
        assert pieces.wholes is None or coin is not None
        self._coin = coin
        if self.single:
            self.sorted = np.sort(self.keys, axis=1)
            return
        if pieces.places is None:
            order = np.argsort(self.keys, axis=1, kind="stable")
        else:
            order = np.lexsort((pieces.places, self.keys), axis=1)
        self.sorted = np.take_along_axis(self.keys, order, axis=1)
        self._ranks = np.empty_like(order)
        np.put_along_axis(self._ranks, order, np.arange(order.shape[1])[None, :], axis=1)
        if self.wholes is not None:
            self._low, self._high = _borders(np.take_along_axis(self.wholes, order, axis=1))

    def below(self, limits: np.ndarray) -> np.ndarray:
        """[B] tokens of pieces whose keys are below the row's limit [B]."""
        count: np.ndarray = (self.sorted < limits[:, None]).sum(axis=1)
        return count

    def rounded(self, counts: np.ndarray, most: int | None) -> np.ndarray:
        """Counts [B] that cut no whole: the next higher or lower one by the row's coin, so that the expected count is the one asked for; the
        first whole is taken in any case. `most` is never passed, even where then nothing is left."""
        if most is not None:
            counts = np.minimum(counts, most)
        if self.wholes is None:
            return counts
        assert self._coin is not None
        row = np.arange(len(counts))
        low, high = self._low[row, counts], self._high[row, counts]
        up = (self._coin * (high - low) < counts - low) | ((low == 0) & (counts > 0))
        if most is not None:
            up &= high <= most
        return np.where(up, high, low)

    def first(self, counts: np.ndarray) -> np.ndarray:
        """[B,T] bool: the first `counts` [B] tokens of each row."""
        if not self.single:
            taken: np.ndarray = self._ranks < counts[:, None]
            return taken
        last = np.take_along_axis(self.sorted, np.maximum(counts - 1, 0)[:, None], axis=1)
        taken = self.keys <= last
        if (taken.sum(axis=1) != counts).any():  # a row without tokens, or two draws of 53 bits that are the same
            ranks = self.keys.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
            taken = ranks < counts[:, None]
        return taken


def _borders(wholes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[B,T+1] each: of every count the next lower and the next higher one, itself included, that cuts no whole."""
    width = wholes.shape[1]
    column = np.arange(width + 1)
    begins = np.ones((len(wholes), width + 1), dtype=bool)
    begins[:, 1:width] = wholes[:, 1:] != wholes[:, :-1]
    low = np.maximum.accumulate(np.where(begins, column, 0), axis=1)
    high = np.minimum.accumulate(np.where(begins, column, width)[:, ::-1], axis=1)[:, ::-1]
    return low, high
