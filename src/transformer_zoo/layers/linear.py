"""Linear projections through the fastest matrix product that the processor has.

For float32 on a CPU PyTorch multiplies by its BLAS. oneDNN, which comes with PyTorch too, is 5 to 15% faster on a block's projections and
about twice as fast where few rows meet a whole vocabulary, so it is used wherever this PyTorch has it. The two differ in the last bits.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

_SMALL = 2**20
"""Elements of a weight below which a single row is faster by the BLAS."""


@cache
def has_onednn() -> bool:
    """Whether this PyTorch was built with oneDNN and lets it be called on plain tensors."""
    return bool(torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"))


def library(device: torch.device) -> str:
    """What multiplies float32 matrices on a device, for the record of a run."""
    return {"cpu": "oneDNN" if has_onednn() else "BLAS", "cuda": "cuBLAS"}.get(device.type, device.type)


def is_plain(*tensors: Tensor | None) -> bool:
    """Whether all are ordinary float32 tensors on a CPU, outside autocast and the compiler, so that oneDNN can be called on them as they are."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return False
    return all(t is None or (type(t) in (Tensor, nn.Parameter) and t.device.type == "cpu" and t.dtype == torch.float32) for t in tensors)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., I] · weight [O, I]ᵀ + bias [O] -> [..., O] without a gradient; float32 on a CPU goes to oneDNN."""
    if not (is_plain(x, weight, bias) and has_onednn()) or not x.numel() or (x.numel() == x.shape[-1] and weight.numel() < _SMALL):
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., I] · weight [O, I]ᵀ + bias [O] -> [..., O]; as `torch.nn.functional.linear`, to rounding."""
    if not (is_plain(x, weight, bias) and has_onednn()):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)):
        projected: Tensor = _Linear.apply(x, weight, bias)
        return projected
    return product(x, weight, bias)


class _Linear(Function):
    """oneDNN's product has no gradient of its own. Made of `linear` again, this one has a gradient too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows, slopes = x.flatten(0, -2), slope.flatten(0, -2)  # [N,I], [N,O]
        d_x = linear(slope, weight.t()) if ctx.needs_input_grad[0] else None
        d_weight = _weight_gradient(slopes, rows) if ctx.needs_input_grad[1] else None
        d_bias = slopes.sum(dim=0) if ctx.has_bias and ctx.needs_input_grad[2] else None
        return d_x, d_weight, d_bias


def _weight_gradient(slopes: Tensor, rows: Tensor) -> Tensor:
    """[N,O]ᵀ · [N,I] -> [O,I]: oneDNN is faster where the weight is wide, the BLAS where it is high."""
    if slopes.shape[1] < rows.shape[1]:
        return linear(slopes.t(), rows.t())
    return slopes.t() @ rows


class Linear(nn.Linear):
    """`nn.Linear` by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)
