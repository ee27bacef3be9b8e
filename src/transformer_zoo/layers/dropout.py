"""Dropout. On a CPU PyTorch draws one double per element, which can cost more than the matrix product before it; here sixteen random bits decide."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

_LEVELS = 2**16


def random_bits(n: int) -> Tensor:
    """[n] int16, uniform over all 65536 values, from torch's generator of the CPU: four for each number drawn."""
    return torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:n]


class Odds:
    """The probability of dropping, to the nearest 1/65536; what is kept is scaled by exactly what that leaves."""

    def __init__(self, p: float) -> None:
        dropped = round(p * _LEVELS)
        self.threshold = float(dropped - _LEVELS // 2)
        """int16 values from here on are kept."""
        self.scale = _LEVELS / (_LEVELS - dropped) if dropped < _LEVELS else 0.0

    def kept(self, bits: Tensor) -> Tensor:
        """float32 [n]: 1 where kept, 0 where dropped. Comparing floats in place is ten times faster than making a mask of booleans."""
        return bits.to(torch.float32).ge_(self.threshold)


def is_fast(x: Tensor) -> bool:
    """Whether sixteen-bit dropout serves this tensor: float32 on a CPU, outside the compiler, which fuses its own."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.compiler.is_compiling()


def dropout(x: Tensor, p: float) -> Tensor:
    """Zeros each element with probability `p` and scales the rest by 1/(1-p), so that the mean stays."""
    if p == 0:
        return x
    if not is_fast(x):
        return F.dropout(x, p)
    dropped: Tensor = _Dropout.apply(x, None, p)
    return dropped


def add_dropped(residual: Tensor, x: Tensor, p: float) -> Tensor:
    """residual + dropout(x), in one pass."""
    if p == 0 or not is_fast(x) or residual.dtype != x.dtype:
        return residual + dropout(x, p)
    added: Tensor = _Dropout.apply(x, residual, p)
    return added


class _Dropout(Function):
    """Keeps the random bits, two bytes an element, for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, residual: Tensor | None, p: float) -> Tensor:
        odds, bits = Odds(p), random_bits(x.numel())
        ctx.save_for_backward(bits)
        ctx.odds, ctx.has_residual = odds, residual is not None
        kept = odds.kept(bits).view(x.shape)
        return kept.mul_(x).mul_(odds.scale) if residual is None else torch.addcmul(residual, x, kept, value=odds.scale)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (bits,) = ctx.saved_tensors
        d_x = ctx.odds.kept(bits).view(slope.shape) * slope * ctx.odds.scale
        return d_x, slope if ctx.has_residual else None, None


class Dropout(nn.Module):
    """Dropout while training, with a door for the sum that usually follows it."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x

    def add(self, residual: Tensor, x: Tensor) -> Tensor:
        """residual + dropout(x)."""
        return add_dropped(residual, x, self.p) if self.training else residual + x

    def extra_repr(self) -> str:
        return f"p={self.p}"
