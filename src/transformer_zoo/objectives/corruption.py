"""Ways to spoil a text, on whole batches: every draw comes from the rows, so that a row is spoilt the same way in any batch.

Axis letters: B rows, T tokens of the longest row, K segments of the row that has most.
"""

import math

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
    return np.cumsum(begins, axis=1)[:, :width] % 2 == 1  # all 2K pieces have begun behind the row's last token


# --- in the manner of BART ------------------------------------------------------------------------------------------------------------


def poisson(draws: np.ndarray, mean: float) -> np.ndarray:
    """Numbers of a Poisson distribution, one for each draw in [0, 1)."""
    counts = np.arange(int(mean + 40 * math.sqrt(mean) + 40))
    logarithms = counts * math.log(mean) - mean - np.array([math.lgamma(count + 1) for count in counts])
    return np.searchsorted(np.cumsum(np.exp(logarithms)), draws, side="right")


def poisson_spans(rows: Rows, n_hidden: np.ndarray, mean_span: float) -> tuple[np.ndarray, np.ndarray]:
    """Lengths [B,K] of spans that hide `n_hidden` [B] tokens in all, and how many spans these are [B]. Lengths are drawn until there are
    enough; the last is cut to what is left. At most as many spans are drawn as tokens are hidden, empty ones included."""
    drawn = poisson(uniform(rows, "infilling: lengths", max(int(n_hidden.max()), 1)), mean_span)
    reached = np.cumsum(drawn, axis=1)
    n_spans = np.minimum((reached < n_hidden[:, None]).sum(axis=1) + 1, n_hidden)
    left = n_hidden[:, None] - np.pad(reached, ((0, 0), (1, 0)))[:, :-1]
    last = n_spans[:, None] - 1
    column = np.arange(drawn.shape[1])
    return np.where(column < last, drawn, np.where(column == last, left, 0)), n_spans


def infilled(rows: Rows, ids: np.ndarray, lengths: np.ndarray, *, ratio: float, mean_span: float, mask: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows [B,T] of `lengths` tokens with an exact share hidden in spans, each of which is one `mask`; an empty span puts one in where nothing is
    missing. Spans stand in every order with the tokens that stay with equal probability. Returns ids [B,W] and their numbers [B]."""
    n_hidden = np.minimum(np.maximum(np.round(lengths * ratio), 1), lengths).astype(np.int64)
    spans, n_spans = poisson_spans(rows, n_hidden, mean_span)
    n_slots = lengths - n_hidden + n_spans  # a slot is a token that stays, or a span
    column = np.arange(max(int(n_slots.max()), 1))
    keys = np.where(column < n_slots[:, None], uniform(rows, "infilling: places", len(column)), 2.0)
    is_span = ranks(keys) < n_spans[:, None]  # [B,W]
    taken = np.where(is_span, np.take_along_axis(spans, np.maximum(np.cumsum(is_span, axis=1) - 1, 0), axis=1), 1)
    place = np.minimum(np.cumsum(taken, axis=1) - taken, ids.shape[1] - 1)  # where each slot begins in the text
    return np.where(is_span, mask, np.take_along_axis(ids, place, axis=1)), n_slots


def sentence_order(rows: Rows, is_stop: np.ndarray, valid: np.ndarray, share: float) -> np.ndarray:
    """[B,T]: where the tokens of each row come from when a share of its sentences, rounded up, change places at random. A sentence ends with
    full stops; what follows the last of them is one too. Padding stays behind."""
    follows = np.pad(is_stop & valid, ((0, 0), (0, 1)))[:, 1:]
    ends = is_stop & valid & ~follows
    number = np.cumsum(ends, axis=1) - ends  # [B,T]: the sentence of each token
    n_sentences = np.where(valid, number + 1, 0).max(axis=1)
    width = max(int(n_sentences.max()), 1)
    n_moved = np.ceil(n_sentences * share - 1e-9).astype(np.int64)
    draws = np.where(np.arange(width) < n_sentences[:, None], uniform(rows, "sentences", width), 2.0)
    moved = ranks(draws) < n_moved[:, None]  # [B,sentences]: those with the smallest draws, which give their new order too
    places = np.argsort(~moved, axis=1, kind="stable")
    sentences = np.argsort(np.where(moved, draws, 2.0), axis=1, kind="stable")
    place_of = np.empty_like(places)
    np.put_along_axis(place_of, sentences, places, axis=1)
    keys = np.where(valid, np.take_along_axis(place_of, np.minimum(number, width - 1), axis=1), width)
    return np.argsort(keys, axis=1, kind="stable")


def deleted(rows: Rows, lengths: np.ndarray, share: float, width: int) -> np.ndarray:
    """[B,T] bool: an exact share of each row's tokens, never all."""
    n_deleted = np.minimum(np.round(lengths * share), np.maximum(lengths - 1, 0))
    keys = np.where(np.arange(width) < lengths[:, None], uniform(rows, "deletion", width), 2.0)
    return ranks(keys) < n_deleted[:, None]


def rotated(rows: Rows, lengths: np.ndarray, share: float, width: int) -> np.ndarray:
    """[B,T]: where the tokens come from when a share of the rows, each by its own coin, begins at a random token and goes on from the front."""
    coin, place = uniform(rows, "rotation", 2).T
    begin = np.where(coin < share, np.floor(place * lengths), 0).astype(np.int64)
    column = np.arange(width)
    return np.where(column < lengths[:, None], (column + begin[:, None]) % np.maximum(lengths, 1)[:, None], column)
