"""From a mask and a batch to what kernels take: each distinct expression is lowered once per forward."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import and_
from typing import Any, TypeVar

import torch
from torch import Tensor

from transformer_zoo.layers.masks import EVERYTHING, BlockMask, Causal, Everything, GlobalTokens, Mask, MaskOperands

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Merged:
    """A mask and a bias as one tensor, for the layers that share both."""

    bias: Tensor | None
    additive: bool
    dtype: torch.dtype
    allowed: Tensor | None  # boolean or additive, [B|1, H|1, T, S]
    seeing: Tensor | None  # [B|1, H|1, T, 1]


@dataclass
class LoweredMask:
    """What a kernel gets: the causal flag, or a mask with its operands, or neither (all may attend). `dense` is computed when it is asked for, so
    that a kernel that goes another way (along a band, by blocks) never makes a tensor of all pairs."""

    causal: bool = False
    expression: Mask = EVERYTHING
    operands: MaskOperands | None = None
    """Of `expression`; None: there is nothing to evaluate."""
    keeps_graph: bool = True
    """Whether layers may share what has a gradient."""
    merged: list["Merged"] = field(default_factory=list)
    """What was made of this mask together with a bias."""
    _known: dict[str, Any] = field(default_factory=dict)

    @property
    def dense(self) -> Tensor | None:
        """Boolean [B|1, H|1, T, S]; None where the causal flag says it, or all may attend."""
        return self.once("dense", lambda: None if self.operands is None else self.expression.dense(self.operands))

    @property
    def log_counts(self) -> Tensor | None:
        """[1, H, T, S], added to the scores where some keys count more than once; None: all count once."""
        return self.once("log counts", lambda: None if self.operands is None else self.expression.log_counts(self.operands.grid()))

    @property
    def square(self) -> bool:
        """Whether queries and keys are the same places."""
        return self.operands is not None and len(self.operands.query_slots) == len(self.operands.key_slots)

    def blocks(self) -> tuple[BlockMask, Mask] | None:
        """A mask by blocks and what else restricts it, where that is all there is."""
        parts = self.expression.conjuncts()
        found = [part for part in parts if isinstance(part, BlockMask)]
        if len(found) != 1 or not self.square:
            return None
        return found[0], reduce(and_, (part for part in parts if part is not found[0]), Everything())

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What a kernel prepares from this mask, made when it is first asked for and kept for the layers that share the mask."""
        if name not in self._known:
            self._known[name] = make()
        known: T = self._known[name]
        return known


def given(dense: Tensor) -> LoweredMask:
    """A dense boolean [B|1, H|1, T, S] as it is."""
    lowered = LoweredMask()
    lowered.once("dense", lambda: dense)
    return lowered


@dataclass
class MaskLowering:
    """Lowers expressions for one forward, each distinct one once."""

    operands: MaskOperands
    keeps_graph: bool = True
    """False where layers are computed again in the backward pass."""
    _lowered: dict[Mask, LoweredMask] = field(default_factory=dict)
    _seen: dict[int, tuple[Mask, LoweredMask]] = field(default_factory=dict)
    """By identity, which takes no walk through the expression; the mask is held, so that its identity stays its own."""

    def __call__(self, mask: Mask) -> LoweredMask:
        if id(mask) not in self._seen:
            if mask not in self._lowered:
                self._lowered[mask] = self._lower(mask.simplify(self.operands))
            self._seen[id(mask)] = mask, self._lowered[mask]
        return self._seen[id(mask)][1]

    def _lower(self, mask: Mask) -> LoweredMask:
        # No setting is left to its default: the compiler cannot trace a default that is an object.
        n_queries, n_keys = len(self.operands.query_slots), len(self.operands.key_slots)
        if mask == Everything() or (mask == Causal() and n_queries == 1):  # one new token sees the whole cache
            return LoweredMask(expression=EVERYTHING, keeps_graph=self.keeps_graph)
        if mask == Causal() and n_queries == n_keys:
            return LoweredMask(causal=True, expression=EVERYTHING, keeps_graph=self.keeps_graph)
        return LoweredMask(expression=mask, operands=self.operands, keeps_graph=self.keeps_graph)


@dataclass(frozen=True)
class GlobalPlaces:
    """Where a batch's global tokens stand: `index` [B, G] lists them per row, padded to the most that a row has."""

    index: Tensor  # [B, G] int64
    valid: Tensor  # [B, G] bool
    rows: Tensor  # [M] int64, the batch row of each of all M
    slots: Tensor  # [M] its place in that row
    columns: Tensor  # [M] its place in `index`

    def gather(self, x: Tensor) -> Tensor:
        """[B, H, T, E] -> [B, H, G, E]."""
        batch, heads, _, width = x.shape
        return x.gather(2, self.index.view(batch, 1, -1, 1).expand(batch, heads, -1, width))

    def rows_allowed(self, mask: LoweredMask) -> Tensor:
        """What global queries may see: boolean [B, 1, G, S]."""
        assert mask.operands is not None
        slots = torch.arange(len(mask.operands.key_slots), device=self.index.device)
        everywhere = slots.expand(len(self.index), 1, 1, -1)
        return mask.expression.allows(mask.operands.at(self.index.view(len(self.index), 1, -1, 1), everywhere))

    def put(self, x: Tensor, chosen: Tensor) -> Tensor:
        """`x` [B, H, T, E] with the global tokens' places taken from `chosen` [B, H, G, E]."""
        picked = chosen.transpose(1, 2)[self.rows, self.columns]  # [M, H, E]
        return x.transpose(1, 2).index_put((self.rows, self.slots), picked.to(x.dtype)).transpose(1, 2)


def global_places(mask: LoweredMask) -> GlobalPlaces | None:
    """The places of the batch's global tokens, where `mask` knows them; None where there are none."""
    return mask.once("global places", lambda: _places(mask.operands) if GlobalTokens() in mask.expression.leaves() else None)


def _places(operands: MaskOperands | None) -> GlobalPlaces | None:
    if operands is None or operands.query_global is None or not bool(operands.query_global.any()):
        return None
    is_global = operands.query_global  # [B, T]
    rows, slots = is_global.nonzero(as_tuple=True)
    per_row = is_global.sum(dim=1)  # [B]
    columns = torch.arange(len(rows), device=rows.device) - (per_row.cumsum(0) - per_row)[rows]
    n_columns = int(per_row.max())
    index = rows.new_zeros(len(is_global), n_columns).index_put((rows, columns), slots)
    return GlobalPlaces(
        index=index, valid=torch.arange(n_columns, device=rows.device) < per_row.unsqueeze(1), rows=rows, slots=slots, columns=columns
    )
