"""Batches by token count: samples of similar lengths together, so that little of a batch is padding."""

import numpy as np

from transformer_zoo.randomness import hash_words, permutation, purpose_key

JITTER = 1.0
"""Tokens by which lengths are blurred before sorting, so that a batch does not hold the same samples in every epoch."""


def token_batches(sizes: np.ndarray, batch_tokens: int, seed: int, epoch: int) -> list[np.ndarray]:
    """A plan for one epoch: every sample once, in shuffled batches of at most `batch_tokens` tokens with padding.

    `sizes` [N, K] are the tokens of each sample's K separately padded parts; a batch of n rows costs n · Σ_k max size. A function of its
    arguments alone.
    """
    order = _by_length(sizes, seed, epoch)
    ordered = sizes[order].astype(np.int64)
    batches = []
    start = 0
    most = int(batch_tokens // max(int(sizes.sum(axis=1).min()), 1))
    while start < len(order):
        window = np.maximum.accumulate(ordered[start : start + most], axis=0).sum(axis=1) * np.arange(1, min(most, len(order) - start) + 1)
        count = max(int(np.searchsorted(window, batch_tokens, side="right")), 1)
        batches.append(order[start : start + count])
        start += count
    shuffled = permutation(seed, "batches", epoch, len(batches))
    return [batches[i] for i in shuffled]


def _by_length(sizes: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Samples ordered by blurred lengths: by the last part in steps, and by the others within a step, up and down in turn."""
    n, parts = sizes.shape
    noise = hash_words(seed, purpose_key("order/lengths"), epoch, np.arange(parts)[None, :], np.arange(n)[:, None])
    blurred = sizes + JITTER * ((noise >> np.uint64(11)).astype(np.float64) * 2.0**-53 - 0.5)
    if parts == 1:
        return np.argsort(blurred[:, 0], kind="stable")
    total = blurred.sum(axis=1)
    balance = blurred[:, -1] - blurred[:, :-1].sum(axis=1)
    step = np.floor(total / 4.0).astype(np.int64)
    return np.lexsort((np.where(step % 2 == 0, balance, -balance), step))
