"""The likeliest token without all scores in full.

Scoring a vocabulary for a few rows takes as long as its matrix takes to be read. So the matrix is kept in half the bytes (bfloat16) as well, and
scores from that one come first, each with a bound on its error. Only the tokens whose score may be the highest within these bounds, one or two a
row, are scored in float32. What is found is what float32 finds; where two scores differ by less than its own rounding, it may be either, as ever.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from transformer_zoo.layers.choosing import BLOCK, peaks
from transformer_zoo.layers.layouts import MOST_ROWS, Blocks

Restrict = Callable[[Tensor], Tensor]
"""Scores [B, V] -> the same, with −inf for tokens that may not come and 0 for one that must come, the others of its row being −inf."""

_LARGE = 2**23
"""Elements of a weight from which half its bytes are worth the bookkeeping; smaller ones are read from the cache."""
_MOST_FOUND = 16
"""Tokens a row that are scored in full; more of them are so near each other that everything is computed."""
_ROWS = 1024
"""Of the weight, looked at together."""
_NARROW, _WIDE = 2.0**-8, 2.0**-24
"""Unit roundoff of bfloat16 and of float32."""


class Screen:
    """x [B, D] -> [B] the first place where restrict(x · weight [V, D]ᵀ + bias [V]) is highest; the weight must not change."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        coarse, width = self.weight.bfloat16(), weight.shape[1]
        self.blocks = Blocks(coarse)
        parts = list(zip(self.weight.split(_ROWS), coarse.split(_ROWS), strict=True))  # of a size that stays in the cache
        longest = max(float(whole.norm(dim=1).max()) for whole, _ in parts)
        lost = max(float((whole - kept).norm(dim=1).max()) for whole, kept in parts)
        # Cauchy and Schwarz: what x loses meets at most the longest row, what is kept of it what a row loses. A percent for norms in float32.
        self.per_lost, self.per_length = 1.01 * longest, 1.01 * (lost + 4 * width * _WIDE * longest)
        self.constant = 0.0 if bias is None else 4 * _NARROW * float(bias.abs().max())

    @staticmethod
    def gains(weight: Tensor) -> bool:
        """Whether the weight is large and this processor multiplies bfloat16 in its own instructions."""
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return weight.numel() >= _LARGE and weight.shape[0] >= BLOCK and native is not None and bool(native())

    def __call__(self, x: Tensor, restrict: Restrict) -> Tensor | None:
        """None where the bounds decide too little, or a score is not finite."""
        n_rows = len(x)
        if n_rows > MOST_ROWS or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return None
        coarse = x.bfloat16()
        scores = self.blocks(coarse).float()  # [B,V]
        scores = restrict(scores if self.bias is None else scores + self.bias)
        highest = peaks(scores)  # [B, V/64]
        floor = self._floor(highest.amax(-1, keepdim=True), x, coarse)  # [B,1] a score below cannot be the highest
        if not bool(floor.isfinite().all()):
            return None
        row, block = (highest >= floor).nonzero(as_tuple=True)  # [P] blocks in which something comes near, row after row
        token = block.unsqueeze(1) * BLOCK + torch.arange(BLOCK)  # [P,64]; the last block may be short
        near = scores[row.unsqueeze(1), token.clamp(max=scores.shape[1] - 1)] >= floor[row]
        near &= token < scores.shape[1]
        row, token = row.unsqueeze(1).expand_as(token)[near], token[near]  # [C]
        if len(row) == n_rows:  # one a row: nothing is left to decide
            return token
        if len(row) > _MOST_FOUND * n_rows:
            return None
        return self._decide(x, row, token)

    def _floor(self, top: Tensor, x: Tensor, coarse: Tensor) -> Tensor:
        kept = coarse.float()
        reach = (x - kept).norm(dim=-1, keepdim=True) * self.per_lost + kept.norm(dim=-1, keepdim=True) * self.per_length + self.constant
        lowest = top - 2 * reach - 1.1 * _NARROW * top.abs()
        return lowest - 1.1 * _NARROW * lowest.abs()  # scores come rounded to bfloat16, the highest one and the one in question

    def _decide(self, x: Tensor, row: Tensor, token: Tensor) -> Tensor:
        """[B] the token with the highest exact score among those [C] of each row, which stand in order."""
        exact = (self.weight[token] * x[row]).sum(dim=-1)
        exact = exact if self.bias is None else exact + self.bias[token]
        best: dict[int, tuple[float, int]] = {}
        for place, one, score in zip(row.tolist(), token.tolist(), exact.tolist(), strict=True):
            if place not in best or score > best[place][0]:
                best[place] = score, one
        return torch.tensor([best[place][1] for place in range(len(x))])
