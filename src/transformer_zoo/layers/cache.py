"""Explicit caches of keys and values, for decoding one token at a time."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Selection:
    """Rows of a cache to keep, repeat or reorder."""

    rows: Tensor  # [M] which old row each new one is
    moved: Tensor | None
    """[m] the new rows that are not the old ones at the same place, so that only these are copied; None: all are."""

    @classmethod
    def of(cls, rows: Tensor, n_rows: int) -> "Selection":
        """`rows` [M] of `n_rows`. Elsewhere than on a CPU all are copied, since to count them would make the device wait."""
        if rows.device.type != "cpu" or len(rows) > n_rows:
            return cls(rows, None)
        return cls(rows, (rows != torch.arange(len(rows))).nonzero().squeeze(1))


class AttentionCache:
    """Keys and values [B, H, S, E] of one attention. A `fixed` cache (a memory's) is filled once and then only read."""

    def __init__(self, *, capacity: int = 0, fixed: bool = False) -> None:
        self.capacity, self.fixed, self.length = capacity, fixed, 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    @property
    def filled(self) -> bool:
        """Whether a fixed cache already holds its memory."""
        return self.fixed and self._keys is not None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds S' new places and returns all: 2 x [B, H, length, E]."""
        if self.fixed:
            # As they come they lie between those of other heads; every later token reads them again.
            self._keys = keys.clone(memory_format=torch.contiguous_format)
            self._values = values.clone(memory_format=torch.contiguous_format)
            self.length = keys.shape[2]
            return self._keys, self._values
        if self._keys is None or self._values is None:
            batch, heads, _, width = keys.shape
            self._keys = keys.new_empty(batch, heads, self.capacity, width)
            self._values = values.new_empty(batch, heads, self.capacity, width)
        start, self.length = self.length, self.length + keys.shape[2]
        assert self.length <= self.capacity, f"cache of {self.capacity} places is full"
        self._keys[:, :, start : self.length] = keys
        self._values[:, :, start : self.length] = values
        return self.read()

    def read(self) -> tuple[Tensor, Tensor]:
        """2 x [B, H, length, E]."""
        assert self._keys is not None
        assert self._values is not None
        return self._keys[:, :, : self.length], self._values[:, :, : self.length]

    def select(self, selection: Selection) -> None:
        """Keeps, repeats or reorders rows."""
        if self._keys is not None and self._values is not None:
            self._keys = self._selected(self._keys, selection)
            self._values = self._selected(self._values, selection)

    def _selected(self, held: Tensor, selection: Selection) -> Tensor:
        rows, moved = selection.rows, selection.moved
        if moved is None:
            return torch.index_select(held, 0, rows)
        if len(moved):
            used = held[:, :, : self.length]
            used[moved] = used[rows[moved]]  # what is read is copied before anything is written
        return held[: len(rows)]
