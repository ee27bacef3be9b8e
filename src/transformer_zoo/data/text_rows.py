"""Windows of running text, inside documents or across them.

A document counts as `begin w1 … wn end` for next-token prediction. Windows of `sequence_length + lookahead` tokens overlap by
`lookahead`, so that every token but the first is predicted exactly once. For masked objectives a window is the ordinary tokens
between [CLS] and [SEP].
"""

import numpy as np
from torch import Tensor

from transformer_zoo.data.batching import Reader, cut, frame_ids, tensor
from transformer_zoo.data.store import Store
from transformer_zoo.errors import DataError
from transformer_zoo.records import Needs, Rows, TextBatch, Vocabulary


class _Framing:
    """The special tokens of a document and of a row: `begin`, `end` stand around each document, [CLS] and [SEP] around each row."""

    def __init__(self, vocabulary: Vocabulary, needs: Needs, joined: bool) -> None:
        specials = vocabulary.specials
        self.cls, self.sep = frame_ids(specials, True) if needs.framed else (None, None)
        ends = (specials.sep, specials.end) if needs.framed else (specials.end, specials.sep)
        separator = next((token for token in ends if token is not None), None)
        predicts = needs.lookahead > 0 and not needs.framed
        self.begin = (specials.begin if specials.begin is not None else specials.cls) if predicts else None
        self.end = separator if predicts or joined else None

    @property
    def row(self) -> int:
        """Tokens of the row's own frame."""
        return (self.cls is not None) + (self.sep is not None)


def _stride(framing: _Framing, sequence_length: int) -> int:
    """Tokens by which one window follows another: the row without its own frame."""
    stride = sequence_length - framing.row
    if stride < 1:
        raise DataError(f"data.sequence_length={sequence_length} leaves no room for text: give at least {framing.row + 1}")
    return stride


def _framed(ids: np.ndarray, lengths: np.ndarray, framing: _Framing, pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows with padding and, where rows are framed, [CLS] and [SEP] around them: ids [B, T] and validity."""
    ids[np.arange(ids.shape[1]) >= lengths[:, None]] = pad
    if framing.cls is None or framing.sep is None:
        return ids, np.arange(ids.shape[1]) < lengths[:, None]
    whole = np.full((len(ids), ids.shape[1] + 2), pad, dtype=np.int64)
    whole[:, 0] = framing.cls
    whole[:, 1:-1] = ids
    whole[np.arange(len(ids)), lengths + 1] = framing.sep
    return whole, np.arange(whole.shape[1]) < (lengths + 2)[:, None]


class SeparateReader(Reader):
    """Windows that never cross documents (`packing=separate`); `offset` and `ends_document` are filled."""

    def __init__(self, store: Store, split: str, vocabulary: Vocabulary, needs: Needs, sequence_length: int) -> None:
        self._tokens, self._offsets = store.columns[f"{split}.tokens"], store.columns[f"{split}.documents"]
        self._framing = _Framing(vocabulary, needs, joined=False)
        self._pad = vocabulary.specials.pad
        self._stride = _stride(self._framing, sequence_length)
        self._lookahead = needs.lookahead
        self._head = int(self._framing.begin is not None)
        extra = self._head + (self._framing.end is not None)
        # [D] tokens of each document with its own special tokens; in [N] the document of a window and its place there
        self._totals = np.diff(self._offsets.array) + extra
        n_windows = np.maximum(-(-(self._totals - self._lookahead) // self._stride), 0)
        n_windows[self._totals <= self._lookahead] = 0
        self._ends = np.cumsum(n_windows)
        self._begins = self._ends - n_windows
        if not len(self._ends) or not self._ends[-1]:
            raise DataError(f"data.{split}: 0 usable sequences: no document has a token to read")
        documents = np.repeat(np.arange(len(n_windows)), n_windows)
        places = (np.arange(len(documents)) - self._begins[documents]) * self._stride
        lengths = np.minimum(self._totals[documents] - places, self._stride + self._lookahead)
        self.sizes = (lengths + self._framing.row).astype(np.int32)[:, None]
        self.n_bytes = store.facts[split]["n_bytes"]
        predicts = self._lookahead > 0
        self.n_tokens = int(np.maximum(self._totals - self._lookahead, 0).sum()) if predicts else store.facts[split]["n_tokens"]

    def batch(self, indices: np.ndarray, rows: Rows) -> TextBatch:
        documents = np.searchsorted(self._ends, indices, side="right")
        places = (indices - self._begins[documents]) * self._stride
        lengths = self.sizes[indices, 0].astype(np.int64) - self._framing.row
        totals = self._totals[documents]
        ids, _ = cut(self._tokens.array, self._offsets.array[documents] + places - self._head, lengths, int(lengths.max()))
        if self._framing.begin is not None:
            ids[places == 0, 0] = self._framing.begin
        ends_document = places + lengths == totals
        if self._framing.end is not None:
            last = np.flatnonzero(ends_document)
            ids[last, lengths[last] - 1] = self._framing.end
        ids, valid = _framed(ids, lengths, self._framing, self._pad)
        return TextBatch(
            rows=rows,
            token_ids=tensor(ids),
            valid=tensor(valid),
            offset=tensor(np.maximum(places - self._head, 0)),
            ends_document=tensor(ends_document),
        )


class JoinedReader(Reader):
    """Windows of documents joined one after another (`packing=concatenate`); with `masked` (`packing=document_mask`) each token says
    which document of its row it belongs to (padding as the row's last).

    For next-token prediction every document has its begin and end token (once, where the tokenizer has one token for both); for masked
    objectives one [SEP] stands between documents."""

    def __init__(self, store: Store, split: str, vocabulary: Vocabulary, needs: Needs, sequence_length: int, *, masked: bool) -> None:
        self._tokens, self._offsets = store.columns[f"{split}.tokens"], store.columns[f"{split}.documents"]
        self._framing = framing = _Framing(vocabulary, needs, joined=True)
        self._pad, self._masked = vocabulary.specials.pad, masked
        stride = _stride(framing, sequence_length)
        offsets = self._offsets.array
        n_documents, n_tokens = len(offsets) - 1, int(offsets[-1])
        if n_tokens < sequence_length and split == "train":
            raise DataError(
                f"data.{split}: 0 usable sequences: {n_tokens} tokens < data.sequence_length={sequence_length}; "
                "give more text or a smaller data.sequence_length"
            )
        if framing.end is None and n_documents > 1:
            raise DataError("the tokenizer has no end or separator token to set between documents: use data.packing=separate")
        once = framing.begin is not None and framing.begin == framing.end  # one token is both: it opens the stream and ends documents
        self._lead = int(once)
        self._head = int(framing.begin is not None and not once)
        self._tail = int(framing.end is not None)
        self._begins = offsets + np.arange(n_documents + 1) * (self._head + self._tail) + self._lead  # [D+1] in the joined stream
        closes = needs.lookahead > 0 and not needs.framed  # the last document's end token is predicted too
        total = int(self._begins[-1]) - (0 if closes else self._tail)
        n_windows = -(-(total - needs.lookahead) // stride) if n_tokens and total > needs.lookahead else 0
        if n_windows < 1:
            raise DataError(f"data.{split}: 0 usable sequences: {n_tokens} tokens < data.sequence_length={sequence_length}")
        self._stride = stride
        lengths = np.full(n_windows, stride + needs.lookahead, dtype=np.int32)
        lengths[-1] = total - (n_windows - 1) * stride
        self.sizes = (lengths + framing.row)[:, None]
        self.n_bytes = store.facts[split]["n_bytes"]
        self.n_tokens = n_tokens + (n_documents * self._tail if closes else 0)

    def batch(self, indices: np.ndarray, rows: Rows) -> TextBatch:
        starts = indices.astype(np.int64) * self._stride  # [B] in the joined stream
        lengths = self.sizes[indices, 0].astype(np.int64) - self._framing.row
        width = int(lengths.max())
        first, relative = self._documents(starts, lengths, width)
        documents = np.minimum(first[:, None] + relative, len(self._begins) - 2)  # [B, T]
        places = starts[:, None] + np.arange(width) - self._begins[documents] - self._head  # in the document's ordinary tokens
        document_starts = self._offsets.array[documents]
        ids = self._tokens.array[np.clip(document_starts + places, 0, len(self._tokens.array) - 1)].astype(np.int64)
        if self._framing.begin is not None:
            ids[places < 0] = self._framing.begin  # also the stream's leading token
        if self._framing.end is not None:
            ids[places == self._offsets.array[documents + 1] - document_starts] = self._framing.end
        ids, valid = _framed(ids, lengths, self._framing, self._pad)
        return TextBatch(rows=rows, token_ids=tensor(ids), valid=tensor(valid), document_ids=self._document_ids(relative))

    def _documents(self, starts: np.ndarray, lengths: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The first document of each row [B], and how many have begun since then at each place [B, T]."""
        first = np.maximum(np.searchsorted(self._begins, starts, side="right") - 1, 0)
        last = np.maximum(np.searchsorted(self._begins, starts + lengths - 1, side="right") - 1, 0)
        last = np.minimum(last, len(self._begins) - 2)
        relative = np.zeros((len(starts), width), dtype=np.int64)
        more = np.maximum(last - first, 0)
        if more.any():
            row = np.repeat(np.arange(len(starts)), more)
            nth = np.arange(len(row)) - np.repeat(np.cumsum(more) - more, more) + 1
            relative[row, self._begins[first[row] + nth] - starts[row]] = 1
            np.cumsum(relative, axis=1, out=relative)
        return first, relative

    def _document_ids(self, relative: np.ndarray) -> Tensor | None:
        if not self._masked:
            return None
        if self._framing.row:  # [CLS] goes with the first document; [SEP], and padding, with the last
            relative = np.concatenate([relative[:, :1], relative, relative[:, -1:]], axis=1)
        return tensor(relative)
