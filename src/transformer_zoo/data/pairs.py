"""Pairs of segments for next-sentence prediction, made as BERT's pretraining data (https://arxiv.org/abs/1810.04805), and for sentence order,
as ALBERT's (https://arxiv.org/abs/1909.11942).

A sample is a place in a document. From the sentence there, sentences are taken until the target length is reached (10% aim at a random
shorter one) and divided into A and B at random; half the time, and always where one sentence was taken, B is instead taken from a
random place in another document. What is too long is cut token by token from the front or back of the longer segment. All of this is
drawn anew in each epoch from (seed, epoch, sample index). Unlike BERT's, samples are numbered places spread over each document rather
than a walk through it, so that any of them can be made alone.

For sentence order at least two sentences are taken, B is always the rest of them, and half of the pairs are swapped. Unlike ALBERT's,
no pair is made of two documents, also where a document has a single sentence: it gives none.
"""

import numpy as np

from transformer_zoo.data.batching import Reader, frame_ids, tensor
from transformer_zoo.data.store import Store
from transformer_zoo.errors import DataError
from transformer_zoo.randomness import hash_words, purpose_key, uniform
from transformer_zoo.records import Needs, PairBatch, Rows, Vocabulary

FRAME = 3
"""[CLS] and two [SEP]."""
SHARE_USED = 0.75
"""Of a full row, on average: a pair with a random B moves through only half of the text."""


class PairReader(Reader):
    """Pairs `[CLS] A [SEP] B [SEP]` from documents of sentences."""

    def __init__(self, store: Store, split: str, vocabulary: Vocabulary, needs: Needs, sequence_length: int, *, short_pairs: float) -> None:
        self._consecutive = needs.consecutive  # pairs are always framed
        self._tokens, self._sentences, self._documents = (store.columns[f"{split}.{name}"] for name in ("tokens", "sentences", "documents"))
        cls, sep = frame_ids(vocabulary.specials, True)
        assert cls is not None and sep is not None
        self._cls, self._sep, self._pad = cls, sep, vocabulary.specials.pad
        self._room = sequence_length - FRAME
        self._short_pairs = short_pairs
        if self._room < 2:
            raise DataError(f"data.sequence_length={sequence_length} leaves no room for two segments: give at least {FRAME + 2}")
        n_sentences = np.diff(self._documents.array)  # [D]
        if not len(n_sentences) or not (n_sentences > 1).any():
            raise DataError(
                f"data.{split}: no document has two sentences ({len(n_sentences)} documents), so no sentence has a next one: "
                "use data.documents=file, or blank_line with several sentences in each document"
            )
        if len(n_sentences) == 1 and n_sentences[0] < 3 and not self._consecutive:
            raise DataError(f"data.{split}: one document of two sentences is too little for pairs: give more text")
        boundaries = self._sentences.array[self._documents.array]  # [D+1] in tokens
        self._begins, self._totals = boundaries[:-1], np.diff(boundaries)
        n_samples = np.maximum(np.round(self._totals / (SHARE_USED * self._room)).astype(np.int64), 1)
        n_samples[self._totals <= self._room] = 1
        if self._consecutive:
            n_samples[n_sentences < 2] = 0
        self._ends = np.cumsum(n_samples)
        self._counts = n_samples
        self.sizes = np.full((int(self._ends[-1]), 1), sequence_length, dtype=np.int32)
        self.n_tokens, self.n_bytes = store.facts[split]["n_tokens"], store.facts[split]["n_bytes"]

    def batch(self, indices: np.ndarray, rows: Rows) -> PairBatch:
        draws = uniform(rows, "pairs", 7)  # [B, 7]
        documents = np.searchsorted(self._ends, indices, side="right")
        first = self._first_sentence(indices, documents, draws[:, 0])
        short = 2 + np.floor(draws[:, 2] * (self._room - 1)).astype(np.int64)
        target = np.where(draws[:, 1] < self._short_pairs, short, self._room)
        if self._consecutive:
            first = np.minimum(first, self._documents.array[documents + 1] - 2)
        stop = self._reach(first, target, documents)
        if self._consecutive:
            stop = np.maximum(stop, first + 2)
        n_taken = stop - first
        split_at = first + np.where(n_taken < 2, 1, 1 + np.floor(draws[:, 3] * (n_taken - 1)).astype(np.int64))
        a_start, a_stop = self._token(first), self._token(split_at)
        is_next = (n_taken > 1) & (draws[:, 4] >= 0.5)
        follows = is_next | self._consecutive
        other, random_first = self._elsewhere(documents, split_at, draws[:, 5], draws[:, 6])
        b_first = np.where(follows, split_at, random_first)
        wanted = np.maximum(target - (a_stop - a_start), 1)
        b_last = np.where(follows, stop, self._reach(random_first, wanted, other))
        b_document = np.where(follows, documents, other)
        b_start, b_stop = self._token(b_first), self._token(b_last)
        starts, stops, front, back = self._truncated(np.stack([a_start, b_start], 1), np.stack([a_stop, b_stop], 1), rows)
        sentence = np.stack([first - self._documents.array[documents], b_first - self._documents.array[b_document]], axis=1)
        origin = np.stack([sentence, front, back == 0], axis=2)
        if self._consecutive:  # the first segment of a swapped pair is the one that follows
            swapped = ~is_next
            starts[swapped], stops[swapped], origin[swapped] = starts[swapped, ::-1], stops[swapped, ::-1], origin[swapped, ::-1]
        return self._assembled(rows, starts, stops, is_next, origin)

    def _token(self, sentences: np.ndarray) -> np.ndarray:
        return self._sentences.array[sentences]

    def _first_sentence(self, indices: np.ndarray, documents: np.ndarray, draw: np.ndarray) -> np.ndarray:
        """[B] the sentence at a random place in the sample's part of its document. Places begin half a row before the document, so that
        its first sentences are not rarer than others; a document that fits into one row is taken from its start."""
        count, total = self._counts[documents], self._totals[documents]
        nth = indices - (self._ends[documents] - count)
        place = np.floor((nth + draw) / count * total).astype(np.int64) - self._room // 2
        place = np.where(total <= self._room, 0, np.maximum(place, 0))
        return np.searchsorted(self._sentences.array, self._begins[documents] + place, side="right") - 1

    def _reach(self, first: np.ndarray, target: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """[B] the end of the fewest sentences from `first` on that hold `target` tokens, or of the document."""
        reached = np.searchsorted(self._sentences.array, self._token(first) + target, side="left")
        return np.minimum(reached, self._documents.array[documents + 1])

    def _elsewhere(self, documents: np.ndarray, follows: np.ndarray, draw: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[B], [B] a random other document and a random sentence of it; with a single document, any of its sentences but the next."""
        n_documents = len(self._counts)
        if n_documents == 1:
            n = int(self._documents.array[1])
            inside = follows < n  # else nothing follows and all sentences may be taken
            shift = 1 + np.floor(place * (n - inside)).astype(np.int64)
            return documents, np.where(inside, (follows + shift) % n, shift - 1)
        other = (documents + 1 + np.floor(draw * (n_documents - 1)).astype(np.int64)) % n_documents
        begin = self._documents.array[other]
        return other, begin + np.floor(place * (self._documents.array[other + 1] - begin)).astype(np.int64)

    def _truncated(self, starts: np.ndarray, stops: np.ndarray, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Segments [B, 2] cut to the room: their starts, stops and the tokens cut in front and behind. Taking single tokens from the
        longer segment until both fit leaves each half of the room, or the shorter whole; each token falls in front or behind by a coin."""
        a, b = (stops - starts).T
        room = self._room
        kept_b = np.where(b <= room // 2, b, np.where(a <= (room + 1) // 2, room - a, room // 2))
        kept = np.where((a + b > room)[:, None], np.stack([room - kept_b, kept_b], axis=1), stops - starts)
        removed = stops - starts - kept  # [B, 2]
        front = np.zeros_like(removed)
        for side in (0, 1):
            most = int(removed[:, side].max())
            if most:
                coins = hash_words(
                    rows.seed,
                    purpose_key("pairs/cut"),
                    rows.epoch.numpy()[:, None],
                    rows.index.numpy()[:, None],
                    side,
                    np.arange(-(-most // 64))[None, :],
                )
                left = np.clip(removed[:, side, None] - 64 * np.arange(coins.shape[1]), 0, 64).astype(np.uint64)  # coins used of each word
                with np.errstate(over="ignore"):
                    used = np.where(left == 64, ~np.uint64(0), (np.uint64(1) << np.minimum(left, np.uint64(63))) - np.uint64(1))
                front[:, side] = np.bitwise_count(coins & used).sum(axis=1)
        return starts + front, stops - (removed - front), front, removed - front

    def _assembled(self, rows: Rows, starts: np.ndarray, stops: np.ndarray, is_next: np.ndarray, origin: np.ndarray) -> PairBatch:
        a, b = (stops - starts).T[:, :, None]  # [B, 1] each
        totals = a + b + FRAME
        column = np.arange(int(totals.max()))
        in_b = column >= a + 2
        places = np.where(in_b, starts[:, 1:] + column - a - 2, starts[:, :1] + column - 1)
        ids = self._tokens.array[np.clip(places, 0, len(self._tokens.array) - 1)].astype(np.int64)
        ids[:, 0] = self._cls
        ids[(column == a + 1) | (column == totals - 1)] = self._sep
        valid = column < totals
        ids[~valid] = self._pad
        return PairBatch(
            rows=rows,
            token_ids=tensor(ids),
            valid=tensor(valid),
            segment_ids=tensor((in_b & valid).astype(np.int64)),
            is_next=tensor(is_next.astype(np.int64)),
            origin=tensor(origin.astype(np.int64)),
        )
