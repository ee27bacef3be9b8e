"""Attention along a band: a query sees a window and perhaps a few global tokens, and no tensor of all pairs is ever made.

Queries are cut into blocks of b; each block is scored against its own keys, those of its neighbours within reach and the global ones, by PyTorch's
fused kernel. Time and memory grow with T·(reach + G), forward and backward, for T tokens and G global ones (Longformer, https://arxiv.org/abs/2004.05150).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from transformer_zoo.layers.lowering import GlobalPlaces, LoweredMask, global_places


@dataclass(frozen=True)
class Band:
    """How one mask is computed along its band."""

    block: int
    left: int
    """Blocks before the query's own."""
    right: int
    allowed: Tensor  # bool [B·N|N, 1, b, G + (left+1+right)·b], global keys first
    places: GlobalPlaces | None
    rows_allowed: Tensor | None  # bool [B, 1, G, T]: what global queries see


def band_of(mask: LoweredMask, block: int | None = None) -> Band | None:
    """The band of a mask; None where it has none, or one so wide (half the length or more) that all pairs cost less."""
    if mask.operands is None or not mask.square:
        return None
    reach, length = mask.expression.reach(), len(mask.operands.query_slots)
    if max(reach) == float("inf"):
        return None
    left, right = int(reach[0]), int(reach[1])
    block = block or block_size(max(left, right))
    n_left, n_right = -(-left // block), -(-right // block)
    width = (n_left + 1 + n_right) * block
    if 2 * width > length:
        return None
    places = global_places(mask)
    if places is not None and 2 * (width + 2 * places.index.shape[1]) > length:
        return None
    return _cut(mask, block, n_left, n_right, places)


def block_size(reach: int) -> int:
    """Queries scored together, for a window of `reach` tokens on its wider side. Larger blocks score more that the mask forbids, smaller ones copy
    keys more often and keep the fused kernel waiting; these are among the fastest on two CPU cores."""
    return 64 if reach <= 64 else 128 if reach <= 128 else 256


def _cut(mask: LoweredMask, block: int, n_left: int, n_right: int, places: GlobalPlaces | None) -> Band:
    """The mask evaluated on blocks along the band, at the global keys and for the global queries."""
    operands = mask.operands
    assert operands is not None
    length, device = len(operands.query_slots), operands.query_slots.device
    n_blocks = -(-length // block)
    queries = torch.arange(n_blocks * block, device=device).view(1, n_blocks, block, 1).clamp(max=length - 1)
    start = (torch.arange(n_blocks, device=device) - n_left) * block
    keys = start.view(1, -1, 1, 1) + torch.arange((n_left + 1 + n_right) * block, device=device)  # [1, N, 1, W]
    inside = (keys >= 0) & (keys < length)
    here = operands.at(queries, keys.clamp(0, length - 1))
    allowed = mask.expression.allows(here) & inside  # [B|1, N, b, W]
    rows_allowed = None
    if places is not None:
        assert here.key_global is not None
        index = places.index
        global_keys = mask.expression.allows(operands.at(queries.expand(len(index), -1, -1, -1), index.view(len(index), 1, 1, -1)))
        global_keys = global_keys & rearrange(places.valid, "b g -> b 1 1 g")  # [B, N, b, G]
        allowed = torch.cat((global_keys, (allowed & ~here.key_global).expand(len(index), -1, -1, -1)), dim=-1)
        rows_allowed = mask.once("global rows", lambda: places.rows_allowed(mask))
    allowed = rearrange(allowed.expand(-1, -1, block, -1), "b n q k -> (b n) 1 q k")
    return Band(block=block, left=n_left, right=n_right, allowed=allowed, places=places, rows_allowed=rows_allowed)


def banded(q: Tensor, k: Tensor, v: Tensor, band: Band, *, scale: float, dropout: float) -> Tensor:
    """Queries, keys and values [B,H,T,E] -> [B,H,T,E]."""
    batch, length = q.shape[0], q.shape[2]
    n_blocks = -(-length // band.block)
    spare = n_blocks * band.block - length
    queries = rearrange(F.pad(q, (0, 0, 0, spare)), "b h (n q) e -> (b n) h q e", n=n_blocks)
    keys, values = (_around(x, band, n_blocks, spare) for x in (k, v))  # [(B N),H,W,E]
    if band.places is not None:
        keys, values = (
            torch.cat((repeat(band.places.gather(x), "b h g e -> (b n) h g e", n=n_blocks), blocks), dim=2) for x, blocks in ((k, keys), (v, values))
        )
    allowed = band.allowed if len(band.allowed) == len(queries) else band.allowed.repeat(batch, 1, 1, 1)
    mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=allowed, dropout_p=dropout, scale=scale)
    out = rearrange(mixed, "(b n) h q e -> b h (n q) e", n=n_blocks)[:, :, :length]
    if band.places is None:
        return out
    full = F.scaled_dot_product_attention(band.places.gather(q), k, v, attn_mask=band.rows_allowed, dropout_p=dropout, scale=scale)
    return band.places.put(out, full)


def _around(x: Tensor, band: Band, n_blocks: int, spare: int) -> Tensor:
    """For every block its own tokens and its neighbours': [B,H,T,E] -> [(B N), H, (left+1+right)·b, E]."""
    x = F.pad(x, (0, 0, band.left * band.block, spare + band.right * band.block))
    x = rearrange(x, "b h (n k) e -> b n h k e", k=band.block)
    parts = [x[:, i : i + n_blocks] for i in range(band.left + 1 + band.right)]
    return torch.cat(parts, dim=3).flatten(0, 1)
