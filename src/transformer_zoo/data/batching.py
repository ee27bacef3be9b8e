"""Readers: one split seen as numbered samples of one batch record, cut from memory-mapped token ids.

`reader.batch(indices, rows)` is a pure function and plain NumPy on whole batches: no loop over rows or tokens. Axis letters: B rows, T
tokens of the longest row, N samples.
"""

from abc import ABC, abstractmethod

import numpy as np
import torch

from transformer_zoo.data.store import Store
from transformer_zoo.errors import DataError
from transformer_zoo.records import IGNORED, Batch, LabelledBatch, Needs, Rows, SpecialTokens, TaggedBatch, TranslationBatch, Vocabulary


class Reader(ABC):
    """Samples of one split. `sizes` [N, K] holds the tokens of each sample in each of its K separately padded parts (two for
    translation, else one), special tokens included."""

    sizes: np.ndarray
    n_tokens: int
    """Tokens of the whole split that can be predicted: the ordinary ones and, where the next token is predicted, the ends of documents (of
    targets, for translation)."""
    n_bytes: int
    """UTF-8 bytes of the same text."""

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def lengths(self) -> np.ndarray:
        """[N] tokens of each sample, over all its parts."""
        lengths: np.ndarray = self.sizes.sum(axis=1)
        return lengths

    @abstractmethod
    def batch(self, indices: np.ndarray, rows: Rows) -> Batch:
        """The samples `indices` [B], padded to the longest; the same indices and rows always give the same batch."""


def make_rows(seed: int, epochs: np.ndarray, indices: np.ndarray, progress: np.ndarray | None = None) -> Rows:
    """The identity of a batch's rows and, where it is asked for, the share of the budget that is spent when each is drawn."""
    return Rows(
        seed=seed,
        epoch=torch.from_numpy(epochs.astype(np.int64)),
        index=torch.from_numpy(indices.astype(np.int64)),
        progress=None if progress is None else torch.from_numpy(progress),
    )


def tensor(array: np.ndarray) -> torch.Tensor:
    """An array as a tensor; integers become int64."""
    return torch.from_numpy(array if array.dtype == bool else array.astype(np.int64, copy=False))


def cut(tokens: np.ndarray, starts: np.ndarray, lengths: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """`tokens[start : start + length]` for every row: ids [B, width] (arbitrary beyond the length) and which are inside."""
    columns = np.arange(width)
    inside = columns < lengths[:, None]
    ids = tokens[np.minimum(starts[:, None] + columns, len(tokens) - 1)].astype(np.int64)
    return ids, inside


def frame_ids(specials: SpecialTokens, framed: bool) -> tuple[int | None, int | None]:
    """The tokens set before and after a row: [CLS] and [SEP] where rows are framed, else the begin and end tokens.

    Raises:
        DataError: the tokenizer has no [CLS] or [SEP].
    """
    if not framed:
        return specials.begin, specials.end
    missing = [name for name, value in (("[CLS]", specials.cls), ("[SEP]", specials.sep)) if value is None]
    if missing:
        raise DataError(
            f"the objective frames its rows with [CLS] and [SEP], but the tokenizer has no {' and no '.join(missing)}: "
            "use a tokenizer trained here (tokenizer=wordpiece, bpe, …) or a tokenizer.json that has them"
        )
    return specials.cls, specials.sep


def framed_rows(
    tokens: np.ndarray, starts: np.ndarray, lengths: np.ndarray, before: int | None, after: int | None, pad: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rows `before tokens… after` from `lengths` ordinary tokens each: ids [B, T] and validity."""
    head = int(before is not None)
    totals = lengths + head + int(after is not None)
    ids, valid = cut(tokens, starts - head, totals, int(totals.max()))
    ids[~valid] = pad
    if before is not None:
        ids[:, 0] = before
    if after is not None:
        ids[np.arange(len(ids)), totals - 1] = after
    return ids, valid


class TranslationReader(Reader):
    """Pairs of sentences: `source… [EOS]` and `[BOS] target… [EOS]`. Pairs with a side longer than `sequence_length` are left out of
    training and cut in held-out splits; `n_long` counts them."""

    def __init__(self, store: Store, split: str, vocabulary: Vocabulary, sequence_length: int) -> None:
        self._source, self._source_offsets = store.columns[f"{split}.source"], store.columns[f"{split}.source.offsets"]
        self._target, self._target_offsets = store.columns[f"{split}.target"], store.columns[f"{split}.target.offsets"]
        specials = vocabulary.specials
        if specials.begin is None or specials.end is None:
            raise DataError("translation needs a tokenizer with begin and end tokens ([BOS] and [EOS]): use one trained here (tokenizer=bpe, …)")
        self._pad, self._begin, self._end = specials.pad, specials.begin, specials.end
        lengths = np.stack([np.diff(self._source_offsets.array), np.diff(self._target_offsets.array)], axis=1)
        self._limits = np.array([sequence_length - 1, sequence_length - 1])  # one place is for the end token
        long = (lengths > self._limits).any(axis=1)
        self.n_long = int(long.sum())
        self._pairs = np.flatnonzero(~long) if split == "train" else np.arange(len(lengths))
        if not len(self._pairs):
            raise DataError(f"data.{split}: 0 usable pairs of {len(lengths)} (data.sequence_length={sequence_length})")
        self.sizes = np.minimum(lengths[self._pairs], self._limits) + np.array([1, 2])
        self.n_tokens, self.n_bytes = len(self._target.array) + len(lengths), store.facts[split]["n_bytes"]

    def batch(self, indices: np.ndarray, rows: Rows) -> TranslationBatch:
        pairs = self._pairs[indices]
        lengths = self.sizes[indices] - np.array([1, 2])
        source, source_valid = framed_rows(self._source.array, self._source_offsets.array[pairs], lengths[:, 0], None, self._end, self._pad)
        target, target_valid = framed_rows(self._target.array, self._target_offsets.array[pairs], lengths[:, 1], self._begin, self._end, self._pad)
        return TranslationBatch(
            rows=rows,
            source_ids=tensor(source),
            source_valid=tensor(source_valid),
            target_ids=tensor(target),
            target_valid=tensor(target_valid),
        )


class _TextRows:
    """Texts, one a row, cut to the sequence length."""

    def __init__(self, store: Store, split: str, vocabulary: Vocabulary, needs: Needs, sequence_length: int) -> None:
        self.tokens, self.offsets = store.columns[f"{split}.tokens"], store.columns[f"{split}.tokens.offsets"]
        self.before, self.after = frame_ids(vocabulary.specials, needs.framed)
        self.pad = vocabulary.specials.pad
        frame = (self.before is not None) + (self.after is not None)
        if sequence_length <= frame:
            raise DataError(f"data.sequence_length={sequence_length} leaves no room for text: give at least {frame + 1}")
        self.head = int(self.before is not None)
        self.lengths = np.minimum(np.diff(self.offsets.array), sequence_length - frame)
        if not len(self.lengths):
            raise DataError(f"data.{split}: 0 usable sequences: the split is empty")
        self.sizes = (self.lengths + frame)[:, None]

    def rows(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        starts = self.offsets.array[indices]
        if not len(self.tokens.array):  # only empty texts
            return framed_rows(np.zeros(1, np.int64), starts, self.lengths[indices], self.before, self.after, self.pad)
        return framed_rows(self.tokens.array, starts, self.lengths[indices], self.before, self.after, self.pad)


class LabelledReader(Reader):
    """Texts with a class each."""

    def __init__(self, store: Store, split: str, vocabulary: Vocabulary, needs: Needs, sequence_length: int) -> None:
        self._texts = _TextRows(store, split, vocabulary, needs, sequence_length)
        self._labels = store.columns[f"{split}.labels"]
        self.sizes = self._texts.sizes
        self.n_tokens, self.n_bytes = store.facts[split]["n_tokens"], store.facts[split]["n_bytes"]

    def batch(self, indices: np.ndarray, rows: Rows) -> LabelledBatch:
        ids, valid = self._texts.rows(indices)
        return LabelledBatch(rows=rows, token_ids=tensor(ids), valid=tensor(valid), labels=tensor(self._labels.array[indices]))


class TaggedReader(Reader):
    """Texts with a tag for every word."""

    def __init__(self, store: Store, split: str, vocabulary: Vocabulary, needs: Needs, sequence_length: int) -> None:
        self._texts = _TextRows(store, split, vocabulary, needs, sequence_length)
        self._tags = store.columns[f"{split}.tags"]
        self.sizes = self._texts.sizes
        self.n_tokens, self.n_bytes = store.facts[split]["n_tokens"], store.facts[split]["n_bytes"]

    def batch(self, indices: np.ndarray, rows: Rows) -> TaggedBatch:
        ids, valid = self._texts.rows(indices)
        lengths = self._texts.lengths[indices]
        tags = np.full(ids.shape, IGNORED, dtype=np.int64)
        if len(self._tags.array):
            found, inside = cut(self._tags.array, self._texts.offsets.array[indices], lengths, int(lengths.max()))
            found[~inside] = IGNORED
            tags[:, self._texts.head : self._texts.head + found.shape[1]] = found
        return TaggedBatch(rows=rows, token_ids=tensor(ids), valid=tensor(valid), tags=tensor(tags))
