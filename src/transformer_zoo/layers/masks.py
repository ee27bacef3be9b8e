"""Who may attend to whom: one meaning everywhere, **True = may attend**.

A mask is a static expression (`Causal() & Window(left=64, right=0) | GlobalTokens()`) whose leaves may refer to operands that come with
the batch (padding, documents, prefix lengths, global tokens). A leaf whose operand is absent falls away before anything is computed. What is
left can be evaluated for any set of places, all pairs or the blocks along a band, because a leaf only compares operands element by element.
`lowering.py` makes of it what kernels take.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

Reach = tuple[float, float]
"""How many places to the left and to the right a query can see at most."""

ANYWHERE: Reach = (float("inf"), float("inf"))


@dataclass(frozen=True)
class Mask:
    """Base of all expressions; `&` and `|` combine them."""

    def __and__(self, other: "Mask") -> "Mask":
        return Both(self, other)

    def __or__(self, other: "Mask") -> "Mask":
        return Either(self, other)

    def simplify(self, operands: "MaskOperands") -> "Mask":
        """The same mask without the leaves whose operands the batch lacks, and with the leaves that depend on the length bound to it."""
        return self

    def allows(self, at: "MaskOperands") -> Tensor:
        """Boolean, element by element: `at` holds operands that broadcast against each other (`MaskOperands.at`)."""
        raise NotImplementedError("abstract")

    def reach(self) -> Reach:
        """How far a query sees that is no global token, global keys apart."""
        return ANYWHERE

    def log_counts(self, at: "MaskOperands") -> Tensor | None:
        """Logarithm of how often a key counts in the softmax, element by element; None: every key once."""
        return None

    def conjuncts(self) -> tuple["Mask", ...]:
        """The masks whose intersection this is."""
        return (self,)

    def leaves(self) -> tuple["Mask", ...]:
        """All that is combined in it."""
        return (self,)

    def dense(self, operands: "MaskOperands") -> Tensor:
        """Boolean, broadcastable to [B, H, T, S]."""
        return self.allows(operands.grid())


@dataclass
class MaskOperands:
    """What a batch contributes: slots are places in the sequence (not positions: a left-padded row counts its padding). Where there are as many
    queries as keys, they are the same places."""

    query_slots: Tensor  # [T] int64
    key_slots: Tensor  # [S] int64
    key_valid: Tensor | None = None  # [B, S] bool
    query_documents: Tensor | None = None  # [B, T]
    key_documents: Tensor | None = None  # [B, S]
    prefix_length: Tensor | None = None  # [B]
    query_global: Tensor | None = None  # [B, T] bool
    key_global: Tensor | None = None  # [B, S] bool
    heads: Tensor | None = None  # number of the head, where operands stand for single pairs; None: all heads

    def at(self, queries: Tensor, keys: Tensor) -> "MaskOperands":
        """The operands at chosen places: `queries` and `keys` are indices [B|1, ...] that broadcast against each other."""
        ones = (1,) * (queries.ndim - 1)
        return MaskOperands(
            query_slots=self.query_slots[queries],
            key_slots=self.key_slots[keys],
            key_valid=_pick(self.key_valid, keys),
            query_documents=_pick(self.query_documents, queries),
            key_documents=_pick(self.key_documents, keys),
            prefix_length=None if self.prefix_length is None else self.prefix_length.view(-1, *ones),
            query_global=_pick(self.query_global, queries),
            key_global=_pick(self.key_global, keys),
        )

    def pair(self, row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> "MaskOperands":
        """The operands of single pairs: all four are numbers, or shapes that broadcast against each other."""

        def pick(x: Tensor | None, slot: Tensor) -> Tensor | None:
            return None if x is None else x[row, slot]

        return MaskOperands(
            query_slots=self.query_slots[query],
            key_slots=self.key_slots[key],
            key_valid=pick(self.key_valid, key),
            query_documents=pick(self.query_documents, query),
            key_documents=pick(self.key_documents, key),
            prefix_length=None if self.prefix_length is None else self.prefix_length[row],
            query_global=pick(self.query_global, query),
            key_global=pick(self.key_global, key),
            heads=head,
        )

    def grid(self) -> "MaskOperands":
        """All pairs: queries [B|1, 1, T, 1] and keys [B|1, 1, 1, S]."""
        queries, keys = torch.arange(len(self.query_slots)), torch.arange(len(self.key_slots))
        device = self.key_slots.device
        return self.at(queries.view(1, 1, -1, 1).to(device), keys.view(1, 1, 1, -1).to(device))


def _pick(x: Tensor | None, index: Tensor) -> Tensor | None:
    """[B, S] at indices [B|1, ...] -> [B, ...]."""
    if x is None:
        return None
    return x[:, index[0]] if len(index) == 1 else x.gather(1, index.flatten(1)).view(index.shape)


@dataclass(frozen=True)
class Everything(Mask):
    """All may attend to all."""

    def allows(self, at: MaskOperands) -> Tensor:
        return torch.ones_like(at.query_slots, dtype=torch.bool) & torch.ones_like(at.key_slots, dtype=torch.bool)


EVERYTHING = Everything()


@dataclass(frozen=True)
class Nothing(Mask):
    """Nobody may attend to anything; the identity of `|`."""

    def allows(self, at: MaskOperands) -> Tensor:
        return ~Everything().allows(at)

    def reach(self) -> Reach:
        return 0, 0


@dataclass(frozen=True)
class Causal(Mask):
    """Only itself and what stands before."""

    def allows(self, at: MaskOperands) -> Tensor:
        return at.query_slots >= at.key_slots

    def reach(self) -> Reach:
        return float("inf"), 0


@dataclass(frozen=True)
class Window(Mask):
    """At most `left` places before and `right` after."""

    left: int
    right: int

    def allows(self, at: MaskOperands) -> Tensor:
        distance = at.key_slots - at.query_slots
        return (distance >= -self.left) & (distance <= self.right)

    def reach(self) -> Reach:
        return self.left, self.right


@dataclass(frozen=True)
class Padding(Mask):
    """Keys that are no padding."""

    def simplify(self, operands: MaskOperands) -> Mask:
        return self if operands.key_valid is not None else Everything()

    def allows(self, at: MaskOperands) -> Tensor:
        assert at.key_valid is not None
        return at.key_valid


@dataclass(frozen=True)
class SameDocument(Mask):
    """Only within the query's own document."""

    def simplify(self, operands: MaskOperands) -> Mask:
        return self if operands.key_documents is not None else Everything()

    def allows(self, at: MaskOperands) -> Tensor:
        assert at.query_documents is not None
        assert at.key_documents is not None
        return at.query_documents == at.key_documents


@dataclass(frozen=True)
class Prefix(Mask):
    """Keys of the row's prefix, for every query; nothing where a batch has no prefix."""

    def simplify(self, operands: MaskOperands) -> Mask:
        return self if operands.prefix_length is not None else Nothing()

    def allows(self, at: MaskOperands) -> Tensor:
        assert at.prefix_length is not None
        return at.key_slots < at.prefix_length


@dataclass(frozen=True)
class GlobalTokens(Mask):
    """Global tokens see all and are seen by all; nothing where a batch has none."""

    def simplify(self, operands: MaskOperands) -> Mask:
        return self if operands.key_global is not None else Nothing()

    def allows(self, at: MaskOperands) -> Tensor:
        assert at.query_global is not None
        assert at.key_global is not None
        return at.query_global | at.key_global

    def reach(self) -> Reach:
        return 0, 0


@dataclass(frozen=True)
class BlockMask(Mask):
    """Base of masks that let blocks of queries see blocks of keys, head by head. The first and the last block see all. A block may be listed
    more than once; its keys then count as often in the softmax."""

    block_size: int
    length: int | None = None
    """Tokens; bound by `simplify`."""

    @property
    def n_blocks(self) -> int:
        """Blocks of queries and of keys, the last one perhaps not full."""
        assert self.length is not None, "simplify binds the length"
        return -(-self.length // self.block_size)

    def key_blocks(self) -> Tensor:
        """int64 [H, N-2, K]: what the blocks between the first and the last see; -1 where a block sees fewer than K."""
        raise NotImplementedError("abstract")

    def counts(self) -> Tensor:
        """int64 [H, N, N]: how often blocks of queries see blocks of keys."""
        blocks, n = self.key_blocks(), self.n_blocks
        counts = blocks.new_ones(len(blocks), n, n)
        listed = (blocks >= 0).long()
        counts[:, 1:-1] = blocks.new_zeros(len(blocks), n - 2, n).scatter_add(2, blocks.clamp(min=0), listed)
        return counts

    def _at(self, table: Tensor, at: MaskOperands) -> Tensor:
        """A table [H, N, N] at pairs of places."""
        heads = torch.arange(len(table), device=at.key_slots.device).view(-1, 1, 1) if at.heads is None else at.heads
        return table.to(at.key_slots.device)[heads, at.query_slots // self.block_size, at.key_slots // self.block_size]

    def allows(self, at: MaskOperands) -> Tensor:
        return self._at(self.counts() > 0, at)

    def log_counts(self, at: MaskOperands) -> Tensor | None:
        counts = self.counts()
        return self._at(counts.clamp(min=1).float().log(), at) if bool((counts > 1).any()) else None


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

    def allows(self, at: MaskOperands) -> Tensor:
        return self.first.allows(at) & self.second.allows(at)

    def reach(self) -> Reach:
        (left, right), (other_left, other_right) = self.first.reach(), self.second.reach()
        return min(left, other_left), min(right, other_right)

    def log_counts(self, at: MaskOperands) -> Tensor | None:
        first, second = self.first.log_counts(at), self.second.log_counts(at)
        return first if second is None else second if first is None else first + second

    def conjuncts(self) -> tuple[Mask, ...]:
        return self.first.conjuncts() + self.second.conjuncts()

    def leaves(self) -> tuple[Mask, ...]:
        return self.first.leaves() + self.second.leaves()


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

    def allows(self, at: MaskOperands) -> Tensor:
        return self.first.allows(at) | self.second.allows(at)

    def reach(self) -> Reach:
        (left, right), (other_left, other_right) = self.first.reach(), self.second.reach()
        return max(left, other_left), max(right, other_right)

    def leaves(self) -> tuple[Mask, ...]:
        return self.first.leaves() + self.second.leaves()
