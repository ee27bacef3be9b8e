"""Who may attend to whom: one meaning everywhere, **True = may attend**.

A mask is a static expression (`Causal() & Window(left=64, right=0) | GlobalTokens()`) whose leaves may refer to operands that come with
the batch (padding, documents, prefix lengths, global tokens). Each distinct expression is lowered once per forward: to nothing, to the plain
causal flag (the kernels' fast path) or to a dense boolean tensor. A leaf whose operand is absent falls away before that.
"""

from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor


@dataclass(frozen=True)
class Mask:
    """Base of all expressions; `&` and `|` combine them."""

    def __and__(self, other: "Mask") -> "Mask":
        return Both(self, other)

    def __or__(self, other: "Mask") -> "Mask":
        return Either(self, other)

    def simplify(self, operands: "MaskOperands") -> "Mask":
        """The same mask without the leaves whose operands the batch lacks."""
        return self

    def dense(self, operands: "MaskOperands") -> Tensor:
        """Boolean, broadcastable to [B, 1, T, S]."""
        raise NotImplementedError("abstract")


@dataclass
class MaskOperands:
    """What a batch contributes: slots are places in the sequence (not positions: a left-padded row counts its padding)."""

    query_slots: Tensor  # [T] int64
    key_slots: Tensor  # [S] int64
    key_valid: Tensor | None = None  # [B, S] bool
    query_documents: Tensor | None = None  # [B, T]
    key_documents: Tensor | None = None  # [B, S]
    prefix_length: Tensor | None = None  # [B]
    query_global: Tensor | None = None  # [B, T] bool
    key_global: Tensor | None = None  # [B, S] bool


@dataclass(frozen=True)
class Everything(Mask):
    """All may attend to all."""

    def dense(self, operands: MaskOperands) -> Tensor:
        return torch.ones(1, 1, len(operands.query_slots), len(operands.key_slots), dtype=torch.bool, device=operands.key_slots.device)


@dataclass(frozen=True)
class Nothing(Mask):
    """Nobody may attend to anything; the identity of `|`."""

    def dense(self, operands: MaskOperands) -> Tensor:
        return ~Everything().dense(operands)


@dataclass(frozen=True)
class Causal(Mask):
    """Only itself and what stands before."""

    def dense(self, operands: MaskOperands) -> Tensor:
        return rearrange(operands.query_slots, "t -> 1 1 t 1") >= rearrange(operands.key_slots, "s -> 1 1 1 s")


@dataclass(frozen=True)
class Window(Mask):
    """At most `left` places before and `right` after."""

    left: int
    right: int

    def dense(self, operands: MaskOperands) -> Tensor:
        distance = rearrange(operands.key_slots, "s -> 1 1 1 s") - rearrange(operands.query_slots, "t -> 1 1 t 1")
        return (distance >= -self.left) & (distance <= self.right)


@dataclass(frozen=True)
class Padding(Mask):
    """Keys that are no padding."""

    def simplify(self, operands: MaskOperands) -> Mask:
        return self if operands.key_valid is not None else Everything()

    def dense(self, operands: MaskOperands) -> Tensor:
        assert operands.key_valid is not None
        return rearrange(operands.key_valid, "b s -> b 1 1 s")


@dataclass(frozen=True)
class SameDocument(Mask):
    """Only within the query's own document."""

    def simplify(self, operands: MaskOperands) -> Mask:
        return self if operands.key_documents is not None else Everything()

    def dense(self, operands: MaskOperands) -> Tensor:
        assert operands.query_documents is not None
        assert operands.key_documents is not None
        return rearrange(operands.query_documents, "b t -> b 1 t 1") == rearrange(operands.key_documents, "b s -> b 1 1 s")


@dataclass(frozen=True)
class Prefix(Mask):
    """Keys of the row's prefix, for every query; nothing where a batch has no prefix."""

    def simplify(self, operands: MaskOperands) -> Mask:
        return self if operands.prefix_length is not None else Nothing()

    def dense(self, operands: MaskOperands) -> Tensor:
        assert operands.prefix_length is not None
        return rearrange(operands.key_slots, "s -> 1 1 1 s") < rearrange(operands.prefix_length, "b -> b 1 1 1")


@dataclass(frozen=True)
class GlobalTokens(Mask):
    """Global tokens see all and are seen by all; nothing where a batch has none."""

    def simplify(self, operands: MaskOperands) -> Mask:
        return self if operands.key_global is not None else Nothing()

    def dense(self, operands: MaskOperands) -> Tensor:
        assert operands.query_global is not None
        assert operands.key_global is not None
        return rearrange(operands.query_global, "b t -> b 1 t 1") | rearrange(operands.key_global, "b s -> b 1 1 s")


@dataclass(frozen=True)
class Both(Mask):
    """Intersection."""

    first: Mask
    second: Mask

    def simplify(self, operands: MaskOperands) -> Mask:
        first, second = self.first.simplify(operands), self.second.simplify(operands)
        if Nothing() in (first, second):
            return Nothing()
        if first == Everything():
            return second
        return first if second in (first, Everything()) else Both(first, second)

    def dense(self, operands: MaskOperands) -> Tensor:
        return self.first.dense(operands) & self.second.dense(operands)


@dataclass(frozen=True)
class Either(Mask):
    """Union."""

    first: Mask
    second: Mask

    def simplify(self, operands: MaskOperands) -> Mask:
        first, second = self.first.simplify(operands), self.second.simplify(operands)
        if Everything() in (first, second):
            return Everything()
        if first == Nothing():
            return second
        return first if second in (first, Nothing()) else Either(first, second)

    def dense(self, operands: MaskOperands) -> Tensor:
        return self.first.dense(operands) | self.second.dense(operands)


@dataclass(frozen=True)
class LoweredMask:
    """What a kernel gets: the causal flag, or a dense boolean [B|1, 1, T, S], or neither (all may attend)."""

    causal: bool = False
    dense: Tensor | None = None


@dataclass
class MaskLowering:
    """Lowers expressions for one forward, each distinct one once."""

    operands: MaskOperands
    _lowered: dict[Mask, LoweredMask] = field(default_factory=dict)

    def __call__(self, mask: Mask) -> LoweredMask:
        if mask not in self._lowered:
            self._lowered[mask] = self._lower(mask.simplify(self.operands))
        return self._lowered[mask]

    def _lower(self, mask: Mask) -> LoweredMask:
        n_queries, n_keys = len(self.operands.query_slots), len(self.operands.key_slots)
        if mask == Everything() or (mask == Causal() and n_queries == 1):  # one new token sees the whole cache
            return LoweredMask()
        if mask == Causal() and n_queries == n_keys:
            return LoweredMask(causal=True)
        return LoweredMask(dense=mask.dense(self.operands))
