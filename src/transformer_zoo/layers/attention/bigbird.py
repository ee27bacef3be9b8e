"""BigBird: a window, global blocks and random blocks."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated

import torch
from torch import Tensor

from transformer_zoo.layers.attention.legacy_random import LegacyRandom
from transformer_zoo.layers.attention.multihead import HeadsConfig, MultiheadAttention
from transformer_zoo.layers.masks import BlockMask, Everything, Mask, MaskOperands
from transformer_zoo.settings import NaturalInt, OneOf, PositiveInt

SPECIAL_LENGTHS = (1024, 3072, 4096)
"""Lengths for which the published code draws random blocks in a way of its own, and only among the first 1024 tokens."""


@dataclass(kw_only=True)
class BigBirdConfig(HeadsConfig):
    """BigBird's block-sparse attention (Zaheer et al. 2020, https://arxiv.org/abs/2007.14062, the ITC form). A block of queries sees its own
    block and both neighbours, the first and the last block, and `n_random` blocks drawn for each head by the layer's number; the first and the
    last block see all.

    The pattern is that of the published code in training, also in evaluation. It depends on the whole length, so that it fits no stack that writes
    one token after another. Sequences of at most (5 + 2 · n_random) blocks are short enough to see all. To a memory it is plain multi-head attention.
    """

    attention_type: Annotated[str, OneOf("block_sparse", "original_full")] = "block_sparse"
    """`original_full`: all tokens see all, with the same parameters."""
    block_size: PositiveInt = 64
    """Tokens of a block."""
    n_random: NaturalInt = 3
    """Random blocks that a block sees in each head."""
    drawn_for: PositiveInt = 4096
    """Tokens of the longest sequence that the model was made for: the published patterns for 1024, 3072 and 4096 tokens are cut from its."""

    def causal_problems(self) -> list[str]:
        if self.attention_type == "original_full":
            return []
        return [
            "attention=bigbird cannot be causal: its blocks depend on the whole length, which a decoder does not know; choose "
            "model/attention=multihead with a window, or attention.attention_type=original_full"
        ]

    def build(self, *, d_model: int, n_heads: int, layer: int = 0) -> MultiheadAttention:
        own_mask: Mask = Everything()
        if self.attention_type == "block_sparse":
            own_mask = BigBirdMask(block_size=self.block_size, n_random=self.n_random, n_heads=n_heads, seed=layer, drawn_for=self.drawn_for)
        return MultiheadAttention(self, d_model=d_model, n_heads=n_heads, own_mask=own_mask)


@dataclass(frozen=True)
class BigBirdMask(BlockMask):
    """Who sees whom in one layer. The published code lists what random blocks and window or last block have in common twice; so do we."""

    n_random: int = 3
    n_heads: int = 1
    seed: int = 0
    drawn_for: int = 4096

    def simplify(self, operands: MaskOperands) -> Mask:
        length = len(operands.key_slots)
        return Everything() if length <= (5 + 2 * self.n_random) * self.block_size else replace(self, length=length)

    def key_blocks(self) -> Tensor:
        """[H, N-2, 5 + n_random]: the first block, three of the window, the last one, the random ones."""
        n = self.n_blocks
        rows = torch.arange(1, n - 1)
        fixed = torch.stack((rows * 0, rows - 1, rows, rows + 1, rows * 0 + n - 1), dim=1)  # [N-2, 5]
        fixed[0, 0] = fixed[-1, 4] = -1  # in the window already
        random = drawn_blocks(n, self.block_size, self.n_random, self.n_heads, self.seed, self.drawn_for)
        return torch.cat((fixed.expand(self.n_heads, -1, -1), random), dim=2)


@torch.library.custom_op("transformer_zoo::bigbird_blocks", mutates_args=())  # draws are no tensors: the compiler must not look inside
def drawn_blocks(n_blocks: int, block_size: int, n_random: int, n_heads: int, seed: int, drawn_for: int) -> Tensor:
    """[H, N-2, R] int64: `random_blocks` as a tensor."""
    drawn = random_blocks(n_blocks, block_size=block_size, n_random=n_random, n_heads=n_heads, seed=seed, drawn_for=drawn_for)
    return torch.tensor(drawn, dtype=torch.int64).view(n_heads, n_blocks - 2, n_random)


@drawn_blocks.register_fake
def _(n_blocks: int, block_size: int, n_random: int, n_heads: int, seed: int, drawn_for: int) -> Tensor:  # noqa: ARG001 - only shapes matter
    return torch.empty(n_heads, n_blocks - 2, n_random, dtype=torch.int64)


@lru_cache(maxsize=256)
def random_blocks(n_blocks: int, *, block_size: int, n_random: int, n_heads: int, seed: int, drawn_for: int) -> list[list[list[int]]]:
    """For each head and each block between the first and the last, `n_random` blocks of keys: [H][N-2][R]."""
    draw, length = LegacyRandom(seed), n_blocks * block_size
    if length in SPECIAL_LENGTHS and (limit := _limit(max(drawn_for, length), block_size)) - 3 >= n_random:
        longest = max(drawn_for, length) // block_size
        heads = [[draw.permutation(_candidates(row, longest, limit))[:n_random] for row in range(1, longest - 1)] for _ in range(n_heads)]
        return [rows[: n_blocks - 2] for rows in heads]
    drawn: list[list[list[int]]] = [[] for _ in range(n_heads)]
    among = 2 * n_random + 5
    for row in range(1, n_blocks if n_random else 1):
        seen = {0, row - 1, row, row + 1, among - 1, *([among - 2] if row == 1 else []), *([1] if row == among - 2 else [])}
        for rows in drawn:
            rows.append([block for block in draw.permutation(range(among)) if block not in seen][:n_random])
    return [rows[: n_blocks - 2] for rows in drawn]


def _limit(drawn_for: int, block_size: int) -> int:
    """The last block that patterns for the special lengths may draw."""
    return 1024 // block_size - 1 if 2 * block_size < 1024 else drawn_for // block_size - 1


def _candidates(row: int, n_blocks: int, limit: int) -> list[int]:
    """What block `row` of `n_blocks` may draw at the special lengths: up to `limit`, not near itself, save where the published code forgets it."""
    middle = list(range(1, n_blocks - 1))
    if row <= 2:
        return middle[row + 1 : limit]
    if row >= n_blocks - 3:
        return middle[:limit]
    if row - 2 > limit:
        return middle[:limit]
    return middle[: row - 2] + middle[row + 1 : limit]
