"""Kernels: softmax(q·k + bias) · v under a mask. A row that sees nothing yields zeros."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor

from transformer_zoo.layers.attention.banded import band_of, banded
from transformer_zoo.layers.attention.block_sparse import block_sparse, listed_blocks
from transformer_zoo.layers.lowering import LoweredMask
from transformer_zoo.settings import Config

CAUSAL, UNMASKED, DENSE, BIAS, LEARNED = "causal flag", "no mask", "dense mask", "score bias", "score bias with a gradient"
"""Ways of `Kernel.took`, which may be joined."""


@dataclass(kw_only=True)
class KernelConfig(Config):
    """What computes the weighted sum."""

    slot: ClassVar[str | None] = "model/attention/kernel"
    drops: ClassVar[bool] = True
    """Whether it can drop attention weights."""

    def build(self) -> "Kernel":
        raise NotImplementedError("abstract")


class Kernel:
    """q [B,H,T,E], k and v [B,Hk,S,E] (Hk divides H) -> [B,H,T,E]; `bias` [B|1,H,T,S] is added to the scaled scores."""

    name: str
    trains_on: tuple[str, ...] = ("cpu", "cuda", "mps")
    """Devices on which it has a backward."""
    asks_sdpa: bool = False
    """Whether PyTorch's fused attention does the work, with whatever backend PyTorch picks."""
    took: str = ""
    """Which way the last call went, in words. Set and never read here: code that is compiled would be compiled anew when it changes."""

    def refusal(self, device: str) -> str:
        """What to say where it cannot train."""
        return (
            f"model/attention/kernel={self.name} trains on {' and '.join(self.trains_on)} only, and this is {device}: choose "
            "model/attention/kernel=sdpa, which computes windows and blocks as fast as they allow"
        )

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, mask: LoweredMask, bias: Tensor | None, scale: float, dropout: float) -> Tensor:
        raise NotImplementedError("abstract")


def causal_mask(n_queries: int, n_keys: int, device: torch.device) -> Tensor:
    """Dense [1, 1, T, S] of the causal flag."""
    return torch.ones(1, 1, n_queries, n_keys, dtype=torch.bool, device=device).tril()


def shared_heads(x: Tensor, n_heads: int) -> Tensor:
    """Repeats grouped key or value heads so that each query head has one: [B,Hk,S,E] -> [B,H,S,E]."""
    return x if x.shape[1] == n_heads else repeat(x, "b k s e -> b (k g) s e", g=n_heads // x.shape[1])


def dense_form(mask: LoweredMask, bias: Tensor | None, q: Tensor, k: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """A mask as dense boolean (None: all), and all that is added to the scores (None: nothing)."""
    dense = causal_mask(q.shape[2], k.shape[2], q.device) if mask.causal else mask.dense
    counts = mask.log_counts
    return dense, bias if counts is None else counts if bias is None else bias + counts


def merged(mask: LoweredMask, bias: Tensor | None, q: Tensor, k: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """A mask and a bias as the one additive (without a bias: boolean) mask of the fused attention; and which rows see something, [B|1,H|1,T,1],
    where the result must be multiplied by it. Made once for all layers that share both, unless they are computed again in the backward pass,
    where every layer must make what it made in the forward."""
    for known, of in mask.merged:
        if of is bias and (known[0] is None or known[0].dtype in (torch.bool, q.dtype)):
            return known
    made = _merge(mask, bias, q, k)
    if mask.keeps_graph or bias is None or not bias.requires_grad:
        mask.merged.append((made, bias))
    return made


def _merge(mask: LoweredMask, bias: Tensor | None, q: Tensor, k: Tensor) -> tuple[Tensor | None, Tensor | None]:
    dense, added = dense_form(mask, bias, q, k)
    if added is None:
        return dense, None
    added = added.to(q.dtype)
    if dense is None:
        return added, None
    if mask.causal:
        return added.masked_fill(~dense, float("-inf")), None
    sees_something = dense.any(dim=-1, keepdim=True)
    return added.masked_fill(~(dense | ~sees_something), float("-inf")), sees_something  # a row of -inf alone would give NaN


@dataclass(kw_only=True)
class SDPAConfig(KernelConfig):
    """PyTorch's fused scaled-dot-product attention, which picks the fastest backend for the device."""

    def build(self) -> "SDPAKernel":
        return SDPAKernel()


class SDPAKernel(Kernel):
    """The causal flag is passed on as a flag; a bias and a mask are merged into one additive mask. A window, with or without global tokens, is
    computed along its band and a mask by blocks by its blocks, unless there is a bias, which is a tensor of all pairs already."""

    name = "sdpa"
    asks_sdpa = True

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, mask: LoweredMask, bias: Tensor | None, scale: float, dropout: float) -> Tensor:
        k, v = shared_heads(k, q.shape[1]), shared_heads(v, q.shape[1])
        if bias is None and mask.operands is not None:
            blocks = mask.once("blocks", lambda: listed_blocks(mask))
            if blocks is not None:
                self.took = "blocks"
                return block_sparse(q, k, v, blocks, scale=scale, dropout=dropout)
            band = mask.once("band", lambda: band_of(mask))
            if band is not None:
                self.took = "band"
                return banded(q, k, v, band, scale=scale, dropout=dropout)
        if mask.causal and bias is None:
            self.took = CAUSAL
            return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scale)
        allowed, sees_something = merged(mask, bias, q, k)
        self.took = _way(mask, allowed)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=dropout, scale=scale)
        return out if sees_something is None else out * sees_something


def _way(mask: LoweredMask, allowed: Tensor | None) -> str:
    """What the fused attention was given."""
    if allowed is None:
        return UNMASKED
    if allowed.dtype == torch.bool:
        return DENSE
    added = LEARNED if allowed.requires_grad else BIAS
    return f"{DENSE} and {added}" if mask.causal or mask.dense is not None else added


@dataclass(kw_only=True)
class ReferenceConfig(KernelConfig):
    """The formula spelt out; slow, for tests and for reading."""

    def build(self) -> "ReferenceKernel":
        return ReferenceKernel()


class ReferenceKernel(Kernel):
    """Vaswani et al. 2017, equation 1."""

    name = "reference"

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, mask: LoweredMask, bias: Tensor | None, scale: float, dropout: float) -> Tensor:
        self.took = self.name
        k, v = shared_heads(k, q.shape[1]), shared_heads(v, q.shape[1])
        scores = q @ k.transpose(-1, -2) * scale  # [B,H,T,S]
        dense, bias = dense_form(mask, bias, q, k)
        scores = scores if bias is None else scores + bias
        if dense is not None:
            scores = scores.masked_fill(~dense, float("-inf"))
        weights = scores.softmax(dim=-1).nan_to_num(0.0)  # a row that sees nothing: 0/0
        return F.dropout(weights, dropout) @ v
