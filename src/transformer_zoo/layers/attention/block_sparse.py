"""Attention by listed blocks: every block of queries is scored against the blocks of keys that a `BlockMask` lists for it, head by head.

The first and the last block of queries see all keys. Time and memory grow with T·K·b for K listed blocks of b tokens, forward and backward.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from transformer_zoo.layers.lowering import LoweredMask


@dataclass(frozen=True)
class ListedBlocks:
    """How one block mask is computed."""

    block: int
    n_blocks: int
    gathered: Tensor  # int64 [H·(N-2)·K]: blocks of keys, counted over all heads
    allowed: Tensor  # bool [B|1, H·(N-2), 1|b, K·b]
    rows_allowed: Tensor  # bool [B|1, 1, 1|2b, T]: what the first and the last block see


def listed_blocks(mask: LoweredMask) -> ListedBlocks | None:
    """The blocks of a mask; None where it is no block mask."""
    found = mask.blocks()
    if found is None or mask.operands is None:
        return None
    pattern, rest = found
    operands, block, n_blocks = mask.operands, pattern.block_size, pattern.n_blocks
    length, device = len(operands.query_slots), operands.query_slots.device
    blocks = pattern.key_blocks().to(device)  # [H, N-2, K]
    places = torch.arange(n_blocks * block, device=device).view(n_blocks, block)
    keys = rearrange(places[blocks.clamp(min=0)], "h n k s -> 1 h n 1 (k s)")
    listed = rearrange((blocks >= 0).unsqueeze(-1).expand(-1, -1, -1, block), "h n k s -> 1 h n 1 (k s)")
    inside = listed & (keys < length)

    def allows(queries: Tensor, keys: Tensor) -> Tensor:
        return rest.allows(operands.at(queries.clamp(max=length - 1), keys.clamp(max=length - 1)))

    allowed = allows(rearrange(places[1:-1], "n q -> 1 1 n q 1"), keys) & inside  # [B|1, H, N-2, 1|b, K·b]
    edges = rearrange(places[[0, -1]], "two q -> 1 1 (two q) 1")
    first = torch.arange(n_blocks, device=device).new_tensor(range(len(blocks))) * n_blocks
    return ListedBlocks(
        block=block,
        n_blocks=n_blocks,
        gathered=(blocks.clamp(min=0) + first.view(-1, 1, 1)).flatten(),
        allowed=allowed.flatten(1, 2),
        rows_allowed=allows(edges, torch.arange(length, device=device).view(1, 1, 1, -1)),
    )


def block_sparse(q: Tensor, k: Tensor, v: Tensor, listed: ListedBlocks, *, scale: float, dropout: float) -> Tensor:
    """Queries, keys and values [B,H,T,E] -> [B,H,T,E]."""
    n_heads, length, block = q.shape[1], q.shape[2], listed.block
    spare = listed.n_blocks * block - length
    queries = _filled(q, spare)
    middle = rearrange(queries[:, :, block:-block], "b h (n q) e -> b (h n) q e", q=block)
    keys, values = (_gather(_filled(x, spare), listed) for x in (k, v))  # [B, H·(N-2), K·b, E]
    mixed = F.scaled_dot_product_attention(middle, keys, values, attn_mask=listed.allowed, dropout_p=dropout, scale=scale)
    inner = rearrange(mixed, "b (h n) q e -> b h (n q) e", h=n_heads)
    edges = torch.cat((queries[:, :, :block], queries[:, :, -block:]), dim=2)  # [B,H,2b,E]
    full = F.scaled_dot_product_attention(edges, k, v, attn_mask=listed.rows_allowed, dropout_p=dropout, scale=scale)
    return torch.cat((full[:, :, :block], inner, full[:, :, block:]), dim=2)[:, :, :length]


def _filled(x: Tensor, spare: int) -> Tensor:
    """[B, H, T, E] -> [B, H, T+spare, E]. Contiguous also where nothing is spare (`F.pad` then keeps strides), so that one compiled graph serves
    every length."""
    return torch.cat((x, x.new_zeros(*x.shape[:2], spare, x.shape[3])), dim=2)


def _gather(x: Tensor, listed: ListedBlocks) -> Tensor:
    """[B, H, N·b, E] -> [B, H·(N-2), K·b, E]."""
    blocks = rearrange(x, "b h (n s) e -> b (h n) (s e)", s=listed.block)
    n_middle = x.shape[1] * (listed.n_blocks - 2)
    return rearrange(blocks.index_select(1, listed.gathered), "b (m k) (s e) -> b m (k s) e", m=n_middle, s=listed.block)
