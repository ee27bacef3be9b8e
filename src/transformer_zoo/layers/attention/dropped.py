"""Attention that drops weights, for a CPU: PyTorch's fused kernel there cannot drop, and what it falls back to spends most of its time on
drawing. Of a layer one tensor of all pairs is kept for the backward pass, in place of three."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from transformer_zoo.layers.dropout import Odds, random_bits


def dropped_attention(q: Tensor, k: Tensor, v: Tensor, additive: Tensor | None, *, scale: float, dropout: float) -> Tensor:
    """dropout(softmax(q·kᵀ·scale + additive)) · v for q [B,H,T,E], k and v [B,H,S,E] and `additive` [B|1,H|1,T|1,S], float32."""
    mixed: Tensor = _DroppedAttention.apply(q, k, v, additive, scale, dropout)
    return mixed


class _DroppedAttention(Function):
    """The kept tensor holds each weight with a sign: plus where it was kept, minus where it was dropped."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, additive: Tensor | None, scale: float, dropout: float) -> Tensor:
        odds = Odds(dropout)
        queries, keys, values = (x.flatten(0, 1) for x in (q, k, v))  # [N,T,E], [N,S,E] with N = B·H
        scores = _scaled_product(queries, keys.transpose(1, 2), scale)  # [N,T,S]
        if additive is not None:
            scores.view(*q.shape[:2], *scores.shape[1:]).add_(additive)
        weights = torch.softmax(scores, dim=-1)
        signs = scores.copy_(random_bits(scores.numel()).view(scores.shape)).sub_(odds.threshold - 0.5)
        signed = torch.copysign(weights, signs, out=weights)
        mixed = _scaled_product(torch.relu(signed), values, odds.scale)  # [N,T,E]
        ctx.save_for_backward(queries, keys, values, signed)
        ctx.shape, ctx.scale, ctx.odds, ctx.additive = q.shape, scale, odds, None if additive is None else additive.shape
        return mixed.view(q.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, signed = ctx.saved_tensors
        slopes = slope.flatten(0, 1)  # [N,T,E]
        kept = torch.relu(signed)  # [N,T,S]
        d_values = _scaled_product(kept.transpose(1, 2), slopes, ctx.odds.scale)
        d_weights = torch.ops.aten.threshold_backward(_scaled_product(slopes, values.transpose(1, 2), ctx.odds.scale), signed, 0)  # 0 where dropped
        d_scores = torch._softmax_backward_data(d_weights, torch.abs(signed, out=kept), -1, torch.float32)
        d_queries, d_keys = _scaled_product(d_scores, keys, ctx.scale), _scaled_product(d_scores.transpose(1, 2), queries, ctx.scale)
        batch, heads = ctx.shape[:2]
        d_additive = None
        if ctx.needs_input_grad[3]:
            d_additive = d_scores.view(batch, heads, *d_scores.shape[1:]).sum_to_size(ctx.additive)
        return *(x.view(batch, heads, *x.shape[1:]) for x in (d_queries, d_keys, d_values)), d_additive, None, None


def _scaled_product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """scale · a · b in one call."""
    out = a.new_empty(a.shape[0], a.shape[1], b.shape[2])
    return torch.baddbmm(out, a, b, beta=0, alpha=scale, out=out)
