"""Ways to spoil a text, on whole batches: every draw comes from the rows, so that a row is spoilt the same way in any batch.

Axis letters: B rows, T tokens of the longest row, K segments of the row that has most.
"""

import numpy as np

from transformer_zoo.randomness import uniform
from transformer_zoo.records import Rows


def packed(values: np.ndarray, keep: np.ndarray, fill: int) -> tuple[np.ndarray, np.ndarray]:
    """The kept values of each row [B,W], pushed together: [B,M] filled up with `fill`, and which places of it hold a value."""
    lengths = keep.sum(axis=1)
    width = max(int(lengths.max()), 1)
    order = np.argsort(~keep, axis=1, kind="stable")[:, :width]
    valid = np.arange(width) < lengths[:, None]
    return np.where(valid, np.take_along_axis(values, order, axis=1), fill), valid


def ended(values: np.ndarray, keep: np.ndarray, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows [B,W] with one more value that is kept: [B,W+1] each."""
    return np.pad(values, ((0, 0), (0, 1)), constant_values=end), np.pad(keep, ((0, 0), (0, 1)), constant_values=True)


def ranks(keys: np.ndarray) -> np.ndarray:
    """[B,W]: how many keys of the row come before each one."""
    return keys.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")


def segments(rows: Rows, purpose: str, n_items: np.ndarray, n_segments: np.ndarray) -> np.ndarray:
    """Lengths [B,K] of the segments into which `n_items` [B] are cut: `n_segments` [B] of at least one item each, every way to cut being
    equally likely; 0 where a row has fewer than K."""
    width = max(int(n_items.max()) - 1, 0)
    gaps = np.where(np.arange(width) < n_items[:, None] - 1, uniform(rows, purpose, width), 2.0)  # between an item and the next
    cut = ranks(gaps) < n_segments[:, None] - 1
    number = np.pad(np.cumsum(cut, axis=1), ((0, 0), (1, 0)))  # [B,items]: the segment of each item
    lengths = np.zeros((len(n_items), max(int(n_segments.max()), 1)), dtype=np.int64)
    np.add.at(lengths, (np.arange(len(n_items))[:, None], number), np.arange(width + 1) < n_items[:, None])
    return lengths


def span_counts(lengths: np.ndarray, density: float, mean_span: float) -> tuple[np.ndarray, np.ndarray]:
    """How many of each row's tokens are noise, and in how many spans: at least one of both, but never the whole row."""
    n_noise = np.minimum(np.maximum(np.round(lengths * density), 1), np.maximum(lengths - 1, 0)).astype(np.int64)
    n_spans = np.maximum(np.round(n_noise / mean_span), 1).astype(np.int64)
    return n_noise, np.minimum(n_spans, np.minimum(n_noise, lengths - n_noise))


def noise_spans(rows: Rows, lengths: np.ndarray, density: float, mean_span: float, width: int) -> np.ndarray:
    """[B,T] bool: the noise of rows of `lengths` [B] tokens. Text and noise take turns, text first, each cut at random into as many pieces."""
    n_noise, n_spans = span_counts(lengths, density, mean_span)
    noise = segments(rows, "spans: noise", n_noise, n_spans)
    text = segments(rows, "spans: text", lengths - n_noise, np.maximum(n_spans, lengths.clip(max=1)))
    turns = np.stack([text, noise], axis=2).reshape(len(lengths), -1)  # [B,2K]
    begins = np.zeros((len(lengths), width + 1), dtype=np.int64)
    np.add.at(begins, (np.arange(len(lengths))[:, None], np.cumsum(turns, axis=1)), 1)  # where a piece ends, the next begins
    is_noise = np.cumsum(begins, axis=1)[:, :width] % 2 == 1
    return is_noise & (np.arange(width) < lengths[:, None])
