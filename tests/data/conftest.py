"""Tiny data sets for the tests of `data`: a store of given documents, and a tokenizer whose tokens are given words."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from transformer_zoo.data.base import Form, Pieces, Source
from transformer_zoo.data.batching import Reader, make_rows
from transformer_zoo.data.preparing import write_split
from transformer_zoo.data.store import Store, open_or_build
from transformer_zoo.data.tokenizers import Tokenizer, WordTokenizerConfig
from transformer_zoo.records import Batch, Needs, SequenceInputs, TextBatch

WORDS = [f"w{i}" for i in range(40)]


def wants(batch: type[Batch] = TextBatch, lookahead: int = 0, framed: bool = False) -> Needs:
    return Needs(batch=batch, inputs=SequenceInputs, causal=False, lookahead=lookahead, framed=framed)


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


@pytest.fixture(scope="session")
def words() -> Tokenizer:
    return WordTokenizerConfig().build([" ".join(WORDS)])


@pytest.fixture
def given(tmp_path: Path, words: Tokenizer) -> Callable[..., Store]:
    """Prepares documents of sentences of words in one form."""

    def build(documents: list[list[list[str]]], form: Form = Form.RUNNING, name: str = "given") -> Store:
        def write(writer: object) -> None:
            write_split(GivenSource(documents), "train", form, words, writer, lambda: None)  # type: ignore[arg-type]

        return open_or_build(tmp_path / "stores", name, write)

    return build
