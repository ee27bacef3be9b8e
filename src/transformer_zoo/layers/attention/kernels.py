"""Kernels: softmax(q·k + bias) · v under a mask. A row that sees nothing yields zeros."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor

from transformer_zoo.layers.attention.banded import band_of, banded
from transformer_zoo.layers.attention.block_sparse import block_sparse, listed_blocks
from transformer_zoo.layers.attention.own import own_attention
from transformer_zoo.layers.dropout import is_fast
from transformer_zoo.layers.lowering import LoweredMask, Merged
from transformer_zoo.settings import Config

CAUSAL, UNMASKED, DENSE, BIAS, LEARNED = "causal flag", "no mask", "dense mask", "score bias", "score bias with a gradient"
OWN = "own"
"""Words of `Kernel.took`: what a kernel was given, and that a computation of ours took the place of PyTorch's."""


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


def merged(mask: LoweredMask, bias: Tensor | None, q: Tensor, k: Tensor, *, additive: bool) -> tuple[Tensor | None, Tensor | None]:
    """A mask and a bias as one tensor, boolean where nothing is added to the scores unless `additive`; and which queries see anything,
    [B|1,H|1,T,1], where the mask leaves that open and a row of -inf alone would give NaN. Made once for all layers that share both, unless
    they are computed again in the backward pass, where every layer must make what it made in the forward."""
    for known in mask.merged:
        if known.bias is bias and known.additive == additive and known.dtype == q.dtype:
            return known.allowed, known.seeing
    dense, added = dense_form(mask, bias, q, k)
    allowed, seeing = additive_form(dense, added, q, always_seeing=mask.causal) if additive or added is not None else (dense, None)
    if seeing is not None and _is_next_token(q) and bool(seeing.all()):
        seeing = None
    if mask.keeps_graph or allowed is None or not allowed.requires_grad:
        mask.merged.append(Merged(bias=bias, additive=additive, dtype=q.dtype, allowed=allowed, seeing=seeing))
    return allowed, seeing


def additive_form(dense: Tensor | None, bias: Tensor | None, like: Tensor, *, always_seeing: bool) -> tuple[Tensor | None, Tensor | None]:
    """A mask and a bias as one tensor to add to the scores, and which queries see anything, unless all do."""
    bias = None if bias is None else bias.to(like.dtype)
    if dense is None:
        return bias, None
    bias = like.new_zeros(()) if bias is None else bias
    if always_seeing:
        return bias.masked_fill(~dense, float("-inf")), None
    seeing = dense.any(dim=-1, keepdim=True)
    return bias.masked_fill(~(dense | ~seeing), float("-inf")), seeing.to(like.dtype)


@dataclass(kw_only=True)
class SDPAConfig(KernelConfig):
    """PyTorch's fused scaled-dot-product attention, which picks the fastest backend for the device."""

    def build(self) -> "SDPAKernel":
        return SDPAKernel()


class SDPAKernel(Kernel):
    """The causal flag is passed on as a flag; a bias and a mask are merged into one additive mask. Where weights are dropped on a CPU, or the bias
    has a gradient there, a kernel of our own takes PyTorch's place. A window, with or without global tokens, is computed along its band and a mask
    by blocks by its blocks, unless there is a bias, which is a tensor of all pairs already."""

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
        drops = dropout > 0 and is_fast(q)
        if mask.causal and bias is None and not drops:
            self.took = CAUSAL
            return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scale)
        allowed, seeing = merged(mask, bias, q, k, additive=drops or _is_next_token(q))
        learns = torch.is_grad_enabled() and allowed is not None and allowed.requires_grad
        if drops or (learns and is_fast(q)):
            self.took = f"{OWN}, {_way(mask, bias, allowed)}"
            mixed = own_attention(q, k, v, allowed, scale=scale, dropout=dropout)
        else:
            self.took = _way(mask, bias, allowed)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, dropout_p=dropout, scale=scale)
        return mixed if seeing is None else mixed * seeing


def _is_next_token(q: Tensor) -> bool:
    """Whether one token per row is decoded on a CPU: there a mask that steps and layers share is made additive once, not by PyTorch every time."""
    return q.shape[2] == 1 and q.device.type == "cpu" and not torch.compiler.is_compiling()


def _way(mask: LoweredMask, bias: Tensor | None, allowed: Tensor | None) -> str:
    """What stands in the tensor that a mask and a bias were made into."""
    masks = DENSE if mask.causal or mask.dense is not None else ""
    learned = allowed is not None and allowed.requires_grad
    added = "" if bias is None and mask.log_counts is None else LEARNED if learned else BIAS
    return " and ".join(part for part in (masks, added) if part) or UNMASKED


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
