"""Attention for a CPU where PyTorch's fused kernel cannot serve: it drops no weights and has no gradient for what is added to the scores, and what
PyTorch falls back to spends its time on drawing and on memory. Of a layer one tensor of all pairs is kept for the backward pass, not several."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from transformer_zoo.layers.dropout import Odds, random_bits

_PAIRS = 2**18
"""Pairs looked at together: a megabyte, what one core keeps near."""


def own_attention(q: Tensor, k: Tensor, v: Tensor, additive: Tensor | None, *, scale: float, dropout: float) -> Tensor:
    """dropout(softmax(q·kᵀ·scale + additive)) · v for q [B,H,T,E], k and v [B,H,S,E] and `additive` [B|1,H|1,T|1,S], float32."""
    mixed: Tensor = _OwnAttention.apply(q, k, v, additive, scale, dropout)
    return mixed


class _OwnAttention(Function):
    """The kept tensor holds each weight with a sign: plus where it was kept, minus where it was dropped. A few rows of the batch, or a few heads of
    a long row, are done at a time, so that their pairs stay in the cache from one operation to the next."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, additive: Tensor | None, scale: float, dropout: float) -> Tensor:
        odds, signed, mixed = Odds(dropout), q.new_empty(*q.shape[:3], k.shape[2]), q.new_empty(q.shape)
        parts = _parts(signed)
        room = torch.empty_like(signed[parts[0]])
        for part in parts:
            queries, keys, values, weights, out = (x[part].flatten(0, 1) for x in (q, k, v, signed, mixed))  # [N,T,E] …, with N = rows·heads
            pairs = room.flatten(0, 1)[: len(weights)]  # [N,T,S]
            torch.baddbmm(pairs, queries, keys.transpose(1, 2), beta=0, alpha=scale, out=pairs)
            if additive is not None:
                pairs.view_as(signed[part]).add_(_of(additive, part))
            torch.softmax(pairs, dim=-1, out=weights)
            if dropout:
                pairs.copy_(random_bits(pairs.numel()).view(pairs.shape)).sub_(odds.threshold - 0.5)
                torch.copysign(weights, pairs, out=weights)
                weights = torch.clamp_min(weights, 0, out=pairs)
            torch.baddbmm(out, weights, values, beta=0, alpha=odds.scale, out=out)
        ctx.save_for_backward(q, k, v, signed)
        ctx.scale, ctx.odds, ctx.additive = scale, odds, None if additive is None else additive.shape
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, signed = ctx.saved_tensors
        d_q, d_k, d_v = q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
        d_additive = signed.new_zeros(ctx.additive) if ctx.needs_input_grad[3] else None
        parts = _parts(signed)
        rooms = torch.empty_like(signed[parts[0]]), torch.empty_like(signed[parts[0]])
        for part in parts:
            queries, keys, values, slopes, signs = (x[part].flatten(0, 1) for x in (q, k, v, slope, signed))
            d_queries, d_keys, d_values = (x[part].flatten(0, 1) for x in (d_q, d_k, d_v))
            kept, d_scores = (room.flatten(0, 1)[: len(signs)] for room in rooms)  # [N,T,S]
            torch.clamp_min(signs, 0, out=kept)
            torch.baddbmm(d_values, kept.transpose(1, 2), slopes, beta=0, alpha=ctx.odds.scale, out=d_values)
            torch.baddbmm(d_scores, slopes, values.transpose(1, 2), beta=0, alpha=ctx.odds.scale, out=d_scores)  # of the weights first
            torch.ops.aten.threshold_backward.grad_input(d_scores, signs, 0, grad_input=d_scores)  # 0 where dropped
            torch._softmax_backward_data(d_scores, torch.abs(signs, out=kept), -1, torch.float32, grad_input=d_scores)
            torch.baddbmm(d_queries, d_scores, keys, beta=0, alpha=ctx.scale, out=d_queries)
            torch.baddbmm(d_keys, d_scores.transpose(1, 2), queries, beta=0, alpha=ctx.scale, out=d_keys)
            if d_additive is not None:
                whole = _of(d_additive, part)
                whole.add_(d_scores.view_as(signed[part]).sum_to_size(whole.shape))
        return d_q, d_k, d_v, d_additive, None, None


Part = tuple[slice, slice]
"""Rows of the batch, and heads."""


def _parts(pairs: Tensor) -> list[Part]:
    """[B,H,T,S] in parts of about `_PAIRS`, the first one the largest: whole rows, or heads of one row where a row is more than that."""
    n_rows, n_heads = pairs.shape[:2]
    of_head = pairs.shape[2] * pairs.shape[3]
    rows, heads = max(1, _PAIRS // (n_heads * of_head)), max(1, min(n_heads, _PAIRS // of_head))
    return [(slice(row, row + rows), slice(head, head + heads)) for row in range(0, n_rows, rows) for head in range(0, n_heads, heads)]


def _of(additive: Tensor, part: Part) -> Tensor:
    """What belongs to a part of [B|1,H|1,T|1,S]."""
    rows, heads = part
    return additive[rows if len(additive) > 1 else slice(None), heads if additive.shape[1] > 1 else slice(None)]
