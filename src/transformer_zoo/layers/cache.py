"""Explicit caches of keys and values, for decoding one token at a time."""

import torch
from torch import Tensor


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
            self._keys, self._values, self.length = keys, values, keys.shape[2]
            return keys, values
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

    def select(self, rows: Tensor) -> None:
        """Keeps, repeats or reorders rows [M]."""
        if self._keys is not None and self._values is not None:
            self._keys = torch.index_select(self._keys, 0, rows)
            self._values = torch.index_select(self._values, 0, rows)
