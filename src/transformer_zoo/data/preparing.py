"""From text to token ids on disk, with bounded memory: one writer for each form.

Text is encoded in batches of about a megabyte, so that all cores work and the memory of the encodings stays small whatever the size
of the data. Only ordinary tokens are stored; the readers set the special ones.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from transformer_zoo.data.ahead import ahead
from transformer_zoo.data.base import Form, Pieces, Source
from transformer_zoo.data.phrases import continuing
from transformer_zoo.data.store import StoreWriter
from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import DataError
from transformer_zoo.records import IGNORED

logger = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")

BATCH_CHARACTERS = 1_000_000
BATCH_TEXTS = 20_000
LOG_SECONDS = 5.0

Poll = Callable[[], None]
"""Called between two batches; may raise, to stop the preparation."""


class Progress:
    """Logs how far the preparation is every few seconds and asks `poll` whether to go on."""

    def __init__(self, what: str, poll: Poll) -> None:
        self._what, self._poll = what, poll
        self._start = self._last = time.monotonic()
        self.characters = 0

    def add(self, characters: int) -> None:
        self._poll()
        self.characters += characters
        now = time.monotonic()
        if now - self._last >= LOG_SECONDS:
            self._last = now
            rate = self.characters / (now - self._start) / 1e6
            logger.info("%s: %.1f million characters (%.1f million/s)", self._what, self.characters / 1e6, rate)


def batched(items: Iterable[ItemT], size: Callable[[ItemT], int]) -> Iterator[list[ItemT]]:
    """Lists of items of about `BATCH_CHARACTERS` in sum, made ahead of time."""
    return ahead(_batches(items, size))


def _batches(items: Iterable[ItemT], size: Callable[[ItemT], int]) -> Iterator[list[ItemT]]:
    batch: list[ItemT] = []
    total = 0
    for item in items:
        batch.append(item)
        total += size(item)
        if total >= BATCH_CHARACTERS or len(batch) >= BATCH_TEXTS:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def utf8_bytes(texts: Iterable[str]) -> int:
    """UTF-8 length of texts; an ASCII text has as many bytes as characters."""
    return sum(len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass")) for text in texts)


def write_split(source: Source, split: str, form: Form, tokenizer: Tokenizer, writer: StoreWriter, poll: Poll) -> None:
    """Encode one split of a source into columns named `<split>.…` and note what was counted under `facts[split]`."""
    progress = Progress(f"preparing {split}", poll)
    writer.facts[split] = _WRITERS[form](source, split, tokenizer, writer, progress)


def _piece_size(piece: str | None) -> int:
    return len(piece) if piece is not None else 0


def _write_pieces(pieces: Pieces, split: str, tokenizer: Tokenizer, writer: StoreWriter, progress: Progress, sentences: bool) -> dict[str, int]:
    """Documents of pieces: `tokens`, `documents` (offsets, in tokens or in sentences) and, with `sentences`, their offsets."""
    append_tokens = writer.column(f"{split}.tokens", tokenizer.dtype)
    append_documents = writer.column(f"{split}.documents", np.int64)
    append_sentences = writer.column(f"{split}.sentences", np.int64) if sentences else None
    append_documents([0])
    if append_sentences:
        append_sentences([0])
    n_tokens = n_bytes = n_units = last_end = n_documents = 0
    for batch in batched(pieces, _piece_size):
        texts = [piece for piece in batch if piece is not None]
        ids, lengths = tokenizer.encode_flat(texts)
        append_tokens(ids)
        n_bytes += utf8_bytes(texts)
        # Where the units (tokens or sentences) stand at each place of the batch, and from it the ends of documents.
        is_text = np.fromiter((piece is not None for piece in batch), dtype=bool, count=len(batch))
        amounts = np.zeros(len(batch), dtype=np.int64)
        amounts[is_text] = (lengths > 0) if sentences else lengths
        ends = n_units + np.cumsum(amounts)[~is_text]
        ends = ends[np.diff(ends, prepend=last_end) > 0]  # a document without tokens is none
        append_documents(ends)
        n_documents += len(ends)
        last_end = int(ends[-1]) if len(ends) else last_end
        n_units += int(amounts.sum())
        if append_sentences:
            append_sentences(n_tokens + np.cumsum(lengths)[lengths > 0])
        n_tokens += int(lengths.sum())
        progress.add(sum(map(len, texts)))
    assert last_end == n_units, "the source did not end its last document"
    return {"n_tokens": n_tokens, "n_bytes": n_bytes, "n_documents": n_documents}


def _running(source: Source, split: str, tokenizer: Tokenizer, writer: StoreWriter, progress: Progress) -> dict[str, int]:
    return _write_pieces(source.documents(split), split, tokenizer, writer, progress, sentences=False)


def _sentences(source: Source, split: str, tokenizer: Tokenizer, writer: StoreWriter, progress: Progress) -> dict[str, int]:
    return _write_pieces(source.sentences(split), split, tokenizer, writer, progress, sentences=True)


class _Ragged:
    """A column of token ids with a column of offsets."""

    def __init__(self, writer: StoreWriter, name: str, tokenizer: Tokenizer) -> None:
        self._tokens = writer.column(name, tokenizer.dtype)
        self._offsets = writer.column(f"{name}.offsets", np.int64)
        self._offsets([0])
        self.n_tokens = 0

    def append(self, ids: Any, lengths: np.ndarray) -> None:
        self._tokens(ids)
        self._offsets(self.n_tokens + np.cumsum(lengths))
        self.n_tokens += int(lengths.sum())


def _select(ids: np.ndarray, lengths: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return ids[np.repeat(keep, lengths)], lengths[keep]


def _parallel(source: Source, split: str, tokenizer: Tokenizer, writer: StoreWriter, progress: Progress) -> dict[str, int]:
    """Both sides; a pair of which one side has no token is left out and counted."""
    sides = (_Ragged(writer, f"{split}.source", tokenizer), _Ragged(writer, f"{split}.target", tokenizer))
    n_pairs = n_bytes = n_empty = 0
    for batch in batched(source.parallel(split), lambda pair: len(pair[0]) + len(pair[1])):
        encoded = [tokenizer.encode_flat([pair[side] for pair in batch]) for side in (0, 1)]
        keep = (encoded[0][1] > 0) & (encoded[1][1] > 0)
        for side, (ids, lengths) in zip(sides, encoded, strict=True):
            side.append(*_select(ids, lengths, keep))
        n_pairs += int(keep.sum())
        n_empty += int((~keep).sum())
        n_bytes += utf8_bytes(target for (_, target), kept in zip(batch, keep, strict=True) if kept)
        progress.add(sum(len(a) + len(b) for a, b in batch))
    if n_empty:
        logger.warning("data.%s: %d pairs with an empty side are left out", split, n_empty)
    return {"n_tokens": sides[0].n_tokens + sides[1].n_tokens, "n_bytes": n_bytes, "n_documents": n_pairs}


def _labelled(source: Source, split: str, tokenizer: Tokenizer, writer: StoreWriter, progress: Progress) -> dict[str, int]:
    texts = _Ragged(writer, f"{split}.tokens", tokenizer)
    append_labels = writer.column(f"{split}.labels", np.int64)
    n_rows = n_bytes = 0
    for batch in batched(source.labelled(split), lambda row: len(row[0])):
        texts.append(*tokenizer.encode_flat([text for text, _ in batch]))
        append_labels([label for _, label in batch])
        n_rows += len(batch)
        n_bytes += utf8_bytes(text for text, _ in batch)
        progress.add(sum(len(text) for text, _ in batch))
    return {"n_tokens": texts.n_tokens, "n_bytes": n_bytes, "n_documents": n_rows}


def word_tags(words: list[str], tags: list[int], places: list[tuple[int, int]]) -> tuple[list[int], int]:
    """The tag of each token of `" ".join(words)`: the word's at its first token, IGNORED elsewhere; and how many words have no token."""
    word_at = np.repeat(np.arange(len(words)), [len(word) + 1 for word in words])  # by character; a space belongs to the word before
    owners = [int(word_at[stop - 1]) if stop > start else -1 for start, stop in places]
    tagged: list[int] = []
    seen: set[int] = set()
    for owner in owners:
        tagged.append(tags[owner] if owner >= 0 and owner not in seen else IGNORED)
        seen.add(owner)
    return tagged, len(words) - len(seen - {-1})


def _tagged(source: Source, split: str, tokenizer: Tokenizer, writer: StoreWriter, progress: Progress) -> dict[str, int]:
    texts = _Ragged(writer, f"{split}.tokens", tokenizer)
    append_tags = writer.column(f"{split}.tags", np.int32)
    n_rows = n_bytes = n_lost = 0
    for batch in batched(source.tagged(split), lambda row: sum(map(len, row[0]))):
        joined = [" ".join(words) for words, _ in batch]
        for (words, tags), (ids, places) in zip(batch, tokenizer.encode_places(joined), strict=True):
            row, lost = word_tags(words, tags, places)
            texts.append(ids, np.array([len(ids)]))
            append_tags(row)
            n_lost += lost
        n_rows += len(batch)
        n_bytes += utf8_bytes(joined)
        progress.add(sum(map(len, joined)))
    if n_lost:
        logger.warning("data.%s: %d words become no token of their own, so their tags are left out", split, n_lost)
    return {"n_tokens": texts.n_tokens, "n_bytes": n_bytes, "n_documents": n_rows}


def _marked(source: Source, split: str, tokenizer: Tokenizer, writer: StoreWriter, progress: Progress) -> dict[str, int]:
    """Documents, and for every token whether it goes on with a phrase; a text without tokens is left out."""
    append_tokens, append_documents = writer.column(f"{split}.tokens", tokenizer.dtype), writer.column(f"{split}.documents", np.int64)
    append_marks = writer.column(f"{split}.continues", np.uint8)
    append_documents([0])
    n_tokens = n_bytes = n_documents = 0
    for batch in batched(source.marked(split), lambda row: len(row[0])):
        texts = [text for text, _ in batch]
        for (ids, places), (_, spans) in zip(tokenizer.encode_places(texts), batch, strict=True):
            if not ids:
                continue
            append_tokens(ids)
            append_marks(continuing(spans, places))
            n_tokens, n_documents = n_tokens + len(ids), n_documents + 1
            append_documents([n_tokens])
        n_bytes += utf8_bytes(texts)
        progress.add(sum(map(len, texts)))
    return {"n_tokens": n_tokens, "n_bytes": n_bytes, "n_documents": n_documents}


_WRITERS: dict[Form, Callable[[Source, str, Tokenizer, StoreWriter, Progress], dict[str, int]]] = {
    Form.RUNNING: _running,
    Form.SENTENCES: _sentences,
    Form.PARALLEL: _parallel,
    Form.LABELLED: _labelled,
    Form.TAGGED: _tagged,
    Form.MARKED: _marked,
}


_HAS_LONG_WORD = re.compile(r"\S{1000}")
_LONG_WORD = re.compile(r"(\S{200})")
"""Training time grows with the square of a word's length, so the endless ones (encoded pictures) are cut."""


def training_sample(texts: Iterator[str], limit: int, progress: Progress) -> list[str]:
    """At most about `limit` characters, spread evenly: whenever the sample is full, every second text of it is dropped and from then
    on half as many are taken, so that one pass with bounded memory is enough."""
    sample: list[str] = []
    total, stride = 0, 1
    for i, text in enumerate(texts):
        if i % 256 == 0:
            progress.add(0)
        if i % stride:
            continue
        sample.append(text)
        total += len(text)
        if total > limit and len(sample) > 1:
            sample = sample[::2]
            total = sum(map(len, sample))
            stride *= 2
    if not any(text.strip() for text in sample):
        raise DataError("data.train: 0 usable sequences: 0 tokens < data.sequence_length, the text is empty or blank")
    return [_LONG_WORD.sub(r"\1 ", text) if _HAS_LONG_WORD.search(text) else text for text in sample]
