"""FlexAttention: a fused kernel made for each mask, which skips the blocks of pairs that the mask forbids."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask as FlexBlockMask
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from transformer_zoo.errors import ConfigError
from transformer_zoo.layers.attention.kernels import Kernel, KernelConfig
from transformer_zoo.layers.lowering import LoweredMask

Pairs = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Of row, head, query and key: whether the one sees the other, or what is added to the score."""


@dataclass(kw_only=True)
class FlexConfig(KernelConfig):
    """PyTorch's FlexAttention (Dong et al. 2024, https://arxiv.org/abs/2412.05496): any mask and bias in one fused kernel. Trains on a CUDA GPU;
    elsewhere it only runs forward, and slowly."""

    drops: ClassVar[bool] = False

    def build(self) -> "FlexKernel":
        return FlexKernel()


class FlexKernel(Kernel):
    """Mask and bias become functions of a pair that are compiled into the kernel."""

    name = "flex"
    trains_on = ("cuda",)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, mask: LoweredMask, bias: Tensor | None, scale: float, dropout: float) -> Tensor:
        assert dropout == 0, "settings with dropout are refused"
        fused = q.device.type == "cuda"
        if not fused and torch.is_grad_enabled() and q.requires_grad:
            raise ConfigError(self.refusal(q.device.type))
        self.took = self.name if fused else "not fused"
        block_mask = mask.once("flex", lambda: _block_mask(mask, q, k))
        score_mod = _score_mod(mask, bias, q.device)
        attend: Any = flex_attention if torch.compiler.is_compiling() else _compiled(flex_attention) if fused else _not_fused
        out: Tensor = attend(q, k, v, score_mod=score_mod, block_mask=block_mask, scale=scale, enable_gqa=q.shape[1] != k.shape[1])
        return out


def _not_fused(*arguments: Any, **settings: Any) -> Any:
    """Where there is nothing to fuse for."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")
        return flex_attention(*arguments, **settings)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=False)


def _block_mask(mask: LoweredMask, q: Tensor, k: Tensor) -> FlexBlockMask | None:
    """What the kernel skips; None where all may attend."""
    n_rows, n_heads, allows = _pairs(mask, q.device)
    if allows is None:
        return None
    fused = q.device.type == "cuda" and not torch.compiler.is_compiling()  # not compiled, it makes a tensor of all pairs
    make = _compiled(create_block_mask) if fused else create_block_mask
    made: FlexBlockMask = make(allows, n_rows, n_heads, q.shape[2], k.shape[2], device=q.device)
    return made


def _pairs(mask: LoweredMask, device: torch.device) -> tuple[int | None, int | None, Pairs | None]:
    """The mask as a function of a pair, with the rows and heads it tells apart (None: none)."""
    if mask.causal:
        return None, None, lambda _b, _h, i, j: i >= j
    operands, found = mask.operands, mask.blocks()
    if operands is None:
        dense = mask.dense
        if dense is None:
            return None, None, None
        rows, heads = dense.shape[:2]
        return rows, heads, lambda b, h, i, j: dense[b if rows > 1 else 0, h if heads > 1 else 0, i, j]
    per_row = [x for x in (operands.key_valid, operands.key_documents, operands.prefix_length, operands.key_global) if x is not None]
    n_rows = len(per_row[0]) if per_row else None
    if found is None:
        expression = mask.expression
        return n_rows, None, lambda b, h, i, j: expression.allows(operands.pair(b, h, i, j))
    pattern, rest = found
    size, listed = pattern.block_size, pattern.counts().to(device) > 0
    return n_rows, len(listed), lambda b, h, i, j: listed[h, i // size, j // size] & rest.allows(operands.pair(b, h, i, j))


def _score_mod(mask: LoweredMask, bias: Tensor | None, device: torch.device) -> Callable[..., Tensor] | None:
    """What is added to a score, as a function of it and its pair."""
    found = mask.blocks()
    added: list[Pairs] = []
    if bias is not None:
        rows = len(bias)
        added.append(lambda b, h, i, j: bias[b if rows > 1 else 0, h, i, j])
    if found is not None and bool(((counts := found[0].counts()) > 1).any()):
        size, logs = found[0].block_size, counts.clamp(min=1).float().log().to(device)
        added.append(lambda _b, h, i, j: logs[h, i // size, j // size])
    if not added:
        return None
    first, *others = added

    def modified(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        score = score + first(b, h, i, j)
        for one in others:
            score = score + one(b, h, i, j)
        return score

    return modified
