"""Parallel text: `data=pairs data.train=[a.en,a.de]`, or files of records with a source and a target field."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import ClassVar

from transformer_zoo.data.base import DataConfig, Source
from transformer_zoo.data.files import fingerprint, kind_of, read_lines
from transformer_zoo.data.rows import FileDataConfig, Record, records
from transformer_zoo.data.store import key_of
from transformer_zoo.errors import DataError
from transformer_zoo.records import Batch, TranslationBatch

logger = logging.getLogger(__name__)

PairStream = Iterator[tuple[str, str]]


@dataclass(kw_only=True)
class PairsDataConfig(FileDataConfig):
    """Parallel sentences. A split is either two text files, line by line, or one or more files of records. Pairs longer than
    `sequence_length` tokens on a side are left out of training and cut elsewhere; pairs with an empty side are left out."""

    option: ClassVar[str] = "pairs"

    source_field: str = "source"
    """The field of a record that holds the sentence to translate; dots lead into nested records (`translation.en`)."""
    target_field: str = "target"
    """The field of a record that holds its translation."""

    def provides(self) -> frozenset[type[Batch]]:
        return frozenset({TranslationBatch})

    def open(self, cache_dir: Path) -> "ParallelSource":
        files = self.files()
        streams = {split: self._stream(split, paths) for split, paths in files.items()}
        hashes = {split: fingerprint(paths) for split, paths in files.items()}
        settings = (self.source_field, self.target_field, self.validation_share, self.on_bad_utf8, self.on_bad_record)
        return ParallelSource(streams, config=self, fingerprint=key_of("pairs", hashes, *settings))

    def _stream(self, split: str, paths: list[Path]) -> Callable[[], PairStream]:
        plain = [kind_of(path) == ".txt" for path in paths]
        if not any(plain):
            return partial(_record_pairs, paths, self)
        if len(paths) == 2 and all(plain):
            return partial(line_pairs, paths[0], paths[1], self)
        names = ", ".join(path.name for path in paths)
        raise DataError(
            f"data.{split}: parallel text is two text files, data.{split}=[source.txt,target.txt], "
            f"or files of records with {self.source_field!r} and {self.target_field!r}; got {names}"
        )


def _record_pairs(paths: list[Path], config: PairsDataConfig) -> PairStream:
    def pair(record: Record) -> tuple[str, str]:
        return record.text(config.source_field, "source_field"), record.text(config.target_field, "target_field")

    return records(paths, config, pair)


def line_pairs(source: Path, target: Path, config: DataConfig) -> PairStream:
    """Line n of one file with line n of the other; a pair with a skipped line (bad UTF-8) is skipped whole.

    Raises:
        DataError: the files have different numbers of lines; gives both.
    """
    counts = [0, 0]
    for pair in zip_longest(read_lines(source, config), read_lines(target, config)):
        for side, line in enumerate(pair):
            counts[side] += line is not None
        a, b = pair
        if a is not None and b is not None and a[1] is not None and b[1] is not None:
            yield a[1], b[1]
    if counts[0] != counts[1]:
        raise DataError(
            f"parallel text must have as many lines on both sides: {source.absolute()} has {counts[0]}, {target.absolute()} has {counts[1]}"
        )


class ParallelSource(Source):
    """Parallel sentences. Without validation data, the last share of the training pairs is held out."""

    def __init__(self, streams: Mapping[str, Callable[[], PairStream]], *, config: DataConfig, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.splits = tuple(split for split in ("train", "validation", "test") if split in streams or split == "validation")
        self._streams, self._share = streams, config.validation_share

    @cached_property
    def _cut(self) -> int:
        return int(sum(1 for _ in self._streams["train"]()) * (1.0 - self._share))

    def parallel(self, split: str) -> PairStream:
        if "validation" in self._streams or split == "test":
            return self._streams[split]()
        return islice(self._streams["train"](), *((self._cut,) if split == "train" else (self._cut, None)))

    def training_text(self) -> Iterator[str]:
        """Both sides, for one tokenizer of both languages."""
        for source, target in self.parallel("train"):
            yield source
            yield target
