"""Turning pairs of features, as rotary positions do (Su et al. 2021, https://arxiv.org/abs/2104.09864)."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from transformer_zoo.layers.linear import is_plain


def rotate_half(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turns the pairs (i, i + R/2) of the first R features of x [B,H,T,E] by angles whose cosines and sines [B|1,1,T,R/2] are given; the rest passes
    through. In float32 on a CPU every feature is read and written once, forward and backward."""
    if x.shape[-2] > 1 and is_plain(x, cosine, sine):  # for a single token the bookkeeping takes longer than the work
        turned: Tensor = _Rotation.apply(x, cosine, sine) if x.requires_grad and torch.is_grad_enabled() else _turned(x, cosine, sine)
        return turned
    rotated_width = 2 * cosine.shape[-1]
    first, second = x[..., :rotated_width].chunk(2, dim=-1)  # 2 x [B,H,T,R/2]
    turned = torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)
    return turned if rotated_width == x.shape[-1] else torch.cat((turned, x[..., rotated_width:]), dim=-1)


def _turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    half, out = cosine.shape[-1], torch.empty_like(x)
    first, second, turned_first, turned_second = x[..., :half], x[..., half : 2 * half], out[..., :half], out[..., half : 2 * half]
    torch.mul(first, cosine, out=turned_first).addcmul_(second, sine, value=-1)
    torch.mul(second, cosine, out=turned_second).addcmul_(first, sine)
    if x.shape[-1] > 2 * half:
        out[..., 2 * half :] = x[..., 2 * half :]
    return out


class _Rotation(Function):
    """Its gradient is the slope turned back, which is made of `rotate_half` again and so has a gradient too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _turned(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return rotate_half(slope, cosine, -sine), None, None
