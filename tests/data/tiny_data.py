"""For the tests of `data`: readers read whole, and a source that gives what it was given."""

from collections.abc import Iterator, Sequence

import numpy as np

from transformer_zoo.data.base import Pieces, Source
from transformer_zoo.data.batching import Reader, make_rows
from transformer_zoo.records import Batch, Needs, SequenceInputs, TextBatch

WORDS = [f"w{i}" for i in range(40)]


def wants(batch: type[Batch] = TextBatch, lookahead: int = 0, framed: bool = False, consecutive: bool = False) -> Needs:
    return Needs(batch=batch, inputs=SequenceInputs, causal=False, lookahead=lookahead, framed=framed, consecutive=consecutive)


def everything(reader: Reader, seed: int = 0, epoch: int = 0) -> Batch:
    """All samples of a reader as one batch."""
    return some(reader, np.arange(len(reader)), seed, epoch)


def some(reader: Reader, indices: Sequence[int] | np.ndarray, seed: int = 0, epoch: int = 0) -> Batch:
    indices = np.asarray(indices)
    return reader.batch(indices, make_rows(seed, np.full(len(indices), epoch), indices))


class GivenSource(Source):
    """Documents of sentences of words, as given."""

    splits = ("train",)
    fingerprint = "given"

    def __init__(self, documents: list[list[list[str]]]) -> None:
        self._documents = documents

    def training_text(self) -> Iterator[str]:
        yield " ".join(WORDS)

    def documents(self, split: str) -> Pieces:
        for document in self._documents:
            yield " ".join(word for sentence in document for word in sentence)
            yield None

    def sentences(self, split: str) -> Pieces:
        for document in self._documents:
            yield from (" ".join(sentence) for sentence in document)
            yield None

    def parallel(self, split: str) -> Iterator[tuple[str, str]]:
        for source, target in self._documents:
            yield " ".join(source), " ".join(target)
