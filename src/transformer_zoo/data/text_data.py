"""Running text from the user's own files: `data=text data.train=path.txt`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, ClassVar

from transformer_zoo.data.base import DataConfig, Pieces, Source
from transformer_zoo.data.files import fingerprint, kind_of, read_text
from transformer_zoo.data.rows import FileDataConfig, Record, records
from transformer_zoo.data.running_text import SEPARATORS, count_characters, divided, recut, sliced, texts, without_blank
from transformer_zoo.data.sentences import sentences_of
from transformer_zoo.data.store import key_of
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.records import Batch, PairBatch, TextBatch
from transformer_zoo.settings import OneOf


@dataclass(kw_only=True)
class TextDataConfig(FileDataConfig):
    """Running text in .txt, .jsonl, .csv, .tsv, .json or .parquet files, each also with .gz."""

    option: ClassVar[str] = "text"

    documents: Annotated[str, OneOf("auto", "file", "blank_line", "line")] = "auto"
    """What a document is in a text file. file: the whole file, every byte of it kept; blank_line: what stands between blank lines; line:
    every line; auto: file, or blank_line where the objective needs sentences. Elsewhere a record is a document."""
    text_field: str = "text"
    """The field of a record that holds its text."""

    def provides(self) -> frozenset[type[Batch]]:
        return frozenset[type[Batch]]((TextBatch, PairBatch))

    def open(self, cache_dir: Path) -> "TextSource":
        files = self.files()
        plain = {kind_of(path) == ".txt" for paths in files.values() for path in paths}
        if len(plain) > 1:
            raise DataError("data=text: text files and files of records cannot be mixed: give one kind")
        if plain == {False} and self.documents != "auto":
            raise ConfigError(f"data.documents={self.documents} is for text files; in the files given, every record is a document")
        read = partial(_text_files, config=self) if plain == {True} else partial(_record_files, config=self)
        hashes = {split: fingerprint(paths) for split, paths in files.items()}
        return TextSource(
            {split: partial(read, paths) for split, paths in files.items()},
            config=self,
            documents=self.documents if plain == {True} else "record",
            fingerprint=key_of("text", hashes, self.documents, self.text_field, self.validation_share, self.on_bad_utf8, self.on_bad_record),
        )


def _text_files(paths: list[Path], config: TextDataConfig) -> Pieces:
    for path in paths:
        yield from read_text(path, config)
        yield None


def _record_files(paths: list[Path], config: TextDataConfig) -> Pieces:
    def text(record: Record) -> str:
        return record.text(config.text_field, "text_field")

    for found in records(paths, config, text):
        yield found
        yield None


class TextSource(Source):
    """Running text whose splits are streams of pieces. Without validation data, the last share of the training text, counted in
    characters, is held out; the cut may fall inside a document. `documents` is as in `TextDataConfig`, or `record` where the streams
    are documents already."""

    def __init__(self, streams: Mapping[str, Callable[[], Pieces]], *, config: DataConfig, documents: str, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.splits = tuple(split for split in ("train", "validation", "test") if split in streams or split == "validation")
        self._streams, self._documents, self._share = streams, documents, config.validation_share

    @cached_property
    def _cut(self) -> int:
        """The character at which the held-out share begins."""
        return int(count_characters(self._streams["train"]()) * (1.0 - self._share))

    def _raw(self, split: str) -> Pieces:
        if "validation" in self._streams or split == "test":
            return self._streams[split]()
        return sliced(self._streams["train"](), *((0, self._cut) if split == "train" else (self._cut, None)))

    def _divided(self, split: str, documents: str) -> Pieces:
        raw = self._raw(split)
        return divided(raw, SEPARATORS[documents]) if documents in SEPARATORS else without_blank(raw)

    def training_text(self) -> Iterator[str]:
        return texts(self.documents("train"))

    def documents(self, split: str) -> Pieces:
        return recut(self._divided(split, "file" if self._documents == "auto" else self._documents))

    def sentences(self, split: str) -> Pieces:
        return sentences_of(self._divided(split, "blank_line" if self._documents == "auto" else self._documents))
