"""Attention that drops weights, for a CPU: PyTorch's fused kernel there cannot drop, and what it falls back to spends most of its time on
drawing. Of a layer one tensor of all pairs is kept for the backward pass, in place of three."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from transformer_zoo.layers.dropout import Odds, random_bits

_PAIRS = 2**18
"""Pairs looked at together: a megabyte, what one core keeps near."""


def dropped_attention(q: Tensor, k: Tensor, v: Tensor, additive: Tensor | None, *, scale: float, dropout: float) -> Tensor:
    """dropout(softmax(q·kᵀ·scale + additive)) · v for q [B,H,T,E], k and v [B,H,S,E] and `additive` [B|1,H|1,T|1,S], float32."""
    mixed: Tensor = _DroppedAttention.apply(q, k, v, additive, scale, dropout)
    return mixed


class _DroppedAttention(Function):
    """The kept tensor holds each weight with a sign: plus where it was kept, minus where it was dropped. A few rows of the batch are done at a time,
    so that their pairs stay in the cache from one operation to the next."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, additive: Tensor | None, scale: float, dropout: float) -> Tensor:
        odds, size = Odds(dropout), _rows_at_a_time(q, k)
        signed, mixed = q.new_empty(*q.shape[:3], k.shape[2]), q.new_empty(q.shape)
        room = torch.empty_like(signed[:size])
        for rows in _slices(len(q), size):
            queries, keys, values, weights, out = (x[rows].flatten(0, 1) for x in (q, k, v, signed, mixed))  # [N,T,E] …, with N = rows·H
            scores = room[: len(weights) // q.shape[1]]  # [B',H,T,S]
            pairs = scores.flatten(0, 1)  # [N,T,S]
            torch.baddbmm(pairs, queries, keys.transpose(1, 2), beta=0, alpha=scale, out=pairs)
            if additive is not None:
                scores.add_(additive if len(additive) == 1 else additive[rows])
            torch.softmax(pairs, dim=-1, out=weights)
            pairs.copy_(random_bits(pairs.numel()).view(pairs.shape)).sub_(odds.threshold - 0.5)
            torch.copysign(weights, pairs, out=weights)
            torch.clamp_min(weights, 0, out=pairs)
            torch.baddbmm(out, pairs, values, beta=0, alpha=odds.scale, out=out)
        ctx.save_for_backward(q, k, v, signed)
        ctx.scale, ctx.odds, ctx.additive = scale, odds, None if additive is None else additive.shape
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, signed = ctx.saved_tensors
        size = _rows_at_a_time(q, k)
        d_q, d_k, d_v = q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
        d_additive = signed.new_zeros(ctx.additive) if ctx.needs_input_grad[3] else None
        rooms = torch.empty_like(signed[:size]), torch.empty_like(signed[:size])
        for rows in _slices(len(q), size):
            queries, keys, values, slopes, signs = (x[rows].flatten(0, 1) for x in (q, k, v, slope, signed))
            d_queries, d_keys, d_values = (x[rows].flatten(0, 1) for x in (d_q, d_k, d_v))
            kept, d_scores = (room.flatten(0, 1)[: len(signs)] for room in rooms)  # [N,T,S]
            torch.clamp_min(signs, 0, out=kept)
            torch.baddbmm(d_values, kept.transpose(1, 2), slopes, beta=0, alpha=ctx.odds.scale, out=d_values)
            torch.baddbmm(d_scores, slopes, values.transpose(1, 2), beta=0, alpha=ctx.odds.scale, out=d_scores)  # of the weights first
            torch.ops.aten.threshold_backward.grad_input(d_scores, signs, 0, grad_input=d_scores)  # 0 where dropped
            torch._softmax_backward_data(d_scores, torch.abs(signs, out=kept), -1, torch.float32, grad_input=d_scores)
            torch.baddbmm(d_queries, d_scores, keys, beta=0, alpha=ctx.scale, out=d_queries)
            torch.baddbmm(d_keys, d_scores.transpose(1, 2), queries, beta=0, alpha=ctx.scale, out=d_keys)
            if d_additive is not None:
                whole = d_additive if len(d_additive) == 1 else d_additive[rows]
                whole.add_(d_scores.view(-1, *signed.shape[1:]).sum_to_size(whole.shape))
        return d_q, d_k, d_v, d_additive, None, None


def _rows_at_a_time(q: Tensor, k: Tensor) -> int:
    """Of the batch [B,H,T,E]."""
    return max(1, min(len(q), _PAIRS // (q.shape[1] * q.shape[2] * k.shape[2])))


def _slices(length: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, length, size)]
