"""The highest of many scores. PyTorch's own search goes through a vocabulary element by element on a CPU; the maximum of each block of scores, which
it finds many at a time, leaves only a few blocks to search."""

import torch
from torch import Tensor

BLOCK = 64
_WORTHWHILE = 2**16
"""Scores of all rows from which on this is faster."""


def likeliest(scores: Tensor) -> Tensor:
    """[A] where each row of scores [A, V] is highest; the first place where several are equally high."""
    size = scores.shape[-1]
    if scores.device.type != "cpu" or scores.numel() < _WORTHWHILE or size < BLOCK:
        return scores.argmax(-1)
    block = peaks(scores).argmax(-1)  # [A]
    # The last block may be short; it is searched together with what stands before, which is lower where that block was chosen.
    start = (block * BLOCK).clamp(max=size - BLOCK).unsqueeze(1)  # [A, 1]
    inner = scores.gather(1, start + torch.arange(BLOCK)).argmax(-1)
    return start.squeeze(1) + inner


def topmost(scores: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The `n` highest of each row of scores [A, V], descending, and their places: 2 x [A, n]."""
    size = scores.shape[-1]
    if scores.device.type != "cpu" or scores.numel() < _WORTHWHILE or size < 4 * n * BLOCK:
        values, places = scores.topk(n, dim=-1)
        return values, places
    blocks = peaks(scores).topk(n, dim=-1).indices  # [A, n] the n highest are in the n blocks with the highest peaks
    found = (blocks.unsqueeze(-1) * BLOCK + torch.arange(BLOCK)).flatten(1)  # [A, n·64]
    beyond = found >= size
    kept = scores.gather(1, found.clamp(max=size - 1)).masked_fill_(beyond, float("-inf"))
    values, at = kept.topk(n, dim=-1)
    return values, found.gather(1, at)


def peaks(scores: Tensor) -> Tensor:
    """[A, ceil(V/64)] the highest of each row's scores [A, V] in blocks of `BLOCK`."""
    whole = scores.shape[-1] // BLOCK * BLOCK
    highest = scores[:, :whole].unflatten(1, (-1, BLOCK)).amax(-1)
    rest = scores[:, whole:]
    return highest if rest.shape[1] == 0 else torch.cat((highest, rest.amax(-1, keepdim=True)), dim=1)
