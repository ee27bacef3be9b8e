"""Collocations: runs of tokens that stand together more often than any way to put them together from parts would have it.

The measure is that of PMI-Masking (Levine et al. 2021, https://arxiv.org/abs/2010.01825): of a run w, log p(w) less the largest Σ log p of the
parts into which it can be cut. It is high only where no part explains the whole. Unlike the paper's, runs are of tokens and not of words, so that
the pieces of a rare word are a collocation, too.
"""

import numpy as np

from transformer_zoo.data.store import Store, StoreWriter
from transformer_zoo.randomness import hash_words
from transformer_zoo.records import CollocationNeed, Collocations

MOST_TOKENS = 20_000_000
"""Of the training text, from its start, that are counted: bounds the memory to about a gigabyte."""


def learned(tokens: np.ndarray, breaks: np.ndarray, need: CollocationNeed) -> dict[int, np.ndarray]:
    """Length → the hashes of the collocations, ascending. `breaks` are the places [K] in `tokens` [N] that no run crosses. Half of the collocations
    have two tokens, half of the others three, and so on; of each length those with the highest measure are taken."""
    tokens = np.asarray(tokens[:MOST_TOKENS])
    breaks = np.asarray(breaks)
    piece_end = np.append(np.minimum(breaks, len(tokens)), len(tokens))[np.searchsorted(breaks, np.arange(len(tokens)), side="right")]
    known: dict[int, tuple[np.ndarray, np.ndarray]] = {}  # length → hashes, and log p of the best way to make each run
    found: dict[int, np.ndarray] = {}
    left = need.size
    for length in range(1, need.longest + 1):
        places = np.flatnonzero(np.arange(len(tokens)) + length <= piece_end)
        hashes = _hashes(tokens, places, 0, length)
        runs, first, counts = np.unique(hashes, return_index=True, return_counts=True)
        often = counts >= need.min_count  # parts of a frequent run are as frequent
        runs, first = runs[often], places[first[often]]
        likely = np.log(counts[often] / len(tokens))
        if length == 1:
            known[1] = (runs, likely)
            continue
        parts = [_looked_up(tokens, first, 0, cut, known) + _looked_up(tokens, first, cut, length, known) for cut in range(1, length)]
        best = np.max(parts, axis=0) if len(runs) else np.zeros(0)
        measure = likely - best
        room = left if length == need.longest else left // 2
        order = np.lexsort((runs, -measure))[:room]
        found[length] = np.sort(runs[order[measure[order] > 0]])
        left -= len(found[length])
        known[length] = (runs, np.maximum(likely, best))
    return found


def _hashes(tokens: np.ndarray, places: np.ndarray, begin: int, end: int) -> np.ndarray:
    """Of the runs tokens[place + begin : place + end]."""
    return hash_words(*(tokens[places + i] for i in range(begin, end)))


def _looked_up(tokens: np.ndarray, places: np.ndarray, begin: int, end: int, known: dict[int, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    runs, likely = known[end - begin]
    found: np.ndarray = likely[np.searchsorted(runs, _hashes(tokens, places, begin, end))] if len(places) else np.zeros(0)
    return found


def write_collocations(store: Store, need: CollocationNeed, writer: StoreWriter) -> None:
    """Learn from the training split of a prepared store; a column for each length."""
    columns = store.columns
    borders = next(columns[name] for name in ("train.sentences", "train.tokens.offsets", "train.documents") if name in columns)
    for length, hashes in learned(columns["train.tokens"].array, borders.array, need).items():
        writer.column(f"collocations.{length}", np.uint64)(hashes)


def read_collocations(store: Store) -> Collocations:
    """What `write_collocations` has written."""
    return Collocations(by_length={int(name.rpartition(".")[2]): np.asarray(column.array) for name, column in store.columns.items()})
