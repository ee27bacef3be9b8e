"""Labelled data: texts with a class, or words with a tag each, from files of records."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from transformer_zoo.data.base import DataConfig, Form, Pieces, Source
from transformer_zoo.data.files import fingerprint, kind_of
from transformer_zoo.data.phrases import Spans, given_spans, tagged_spans
from transformer_zoo.data.rows import BadRecordError, FileDataConfig, Record, records
from transformer_zoo.data.running_text import recut, without_blank
from transformer_zoo.data.sentences import sentences_of
from transformer_zoo.data.store import key_of
from transformer_zoo.errors import DataError
from transformer_zoo.records import Batch, LabelledBatch, MarkedTextBatch, PairBatch, TaggedBatch, TextBatch

RecordStream = Callable[[Callable[[Record], Any]], Iterator[Any]]
"""Takes what is wanted of a record and gives it for every sound one."""


@dataclass(kw_only=True)
class LabelledDataConfig(FileDataConfig):
    """Records with a text and its label, or with words and their tags. Without validation data the last records are held out, in the
    order of the file. The texts may also be read as running text, one document a record."""

    option: ClassVar[str] = "labelled"

    text_field: str = "text"
    """The field that holds the text."""
    label_field: str = "label"
    """The field that holds the class: text or a whole number."""
    words_field: str = "tokens"
    """The field that holds the list of words, for tagging."""
    tags_field: str = "tags"
    """The field that holds the list of tags, one for each word; tags B-… and I-… mark phrases."""
    spans_field: str = "spans"
    """The field of a record with a text that holds its phrases: a list of [begin, end] in characters."""

    def provides(self) -> frozenset[type[Batch]]:
        return frozenset[type[Batch]]((LabelledBatch, TaggedBatch, TextBatch, PairBatch, MarkedTextBatch))

    def open(self, cache_dir: Path) -> "LabelledSource":
        files = self.files()
        for split, paths in files.items():
            if plain := [path for path in paths if kind_of(path) == ".txt"]:
                raise DataError(f"data.{split}: {plain[0]} is a text file; labelled data comes in records (.jsonl, .csv, .tsv, .parquet)")
        hashes = {split: fingerprint(paths) for split, paths in files.items()}
        fields = LabelledFields(self.text_field, self.label_field, self.words_field, self.tags_field, self.spans_field)
        return LabelledSource(
            {split: partial(records, paths, self) for split, paths in files.items()},
            config=self,
            fields=fields,
            fingerprint=key_of("labelled", hashes, vars(fields), self.validation_share, self.on_bad_utf8, self.on_bad_record),
        )


@dataclass(frozen=True)
class LabelledFields:
    """Which field of a record holds what."""

    text: str
    label: str
    words: str
    tags: str
    spans: str = "spans"


def _whole(record: Record) -> Record:
    return record


def _label(record: Record, field: str, setting: str) -> str:
    value = record.get(field)
    if isinstance(value, str | int):
        return str(value)
    raise record.problem(field, setting, value, "text or a whole number")


def _sorted_names(names: set[str], first: str | None = None) -> list[str]:
    """Whole numbers by size, other names by the alphabet, `first` before all others."""
    numbers = all(name.lstrip("-").isdigit() for name in names)
    return sorted(names, key=lambda name: (name != first, int(name) if numbers else 0, name))


class LabelledSource(Source):
    """Texts with classes, or words with tags; which of them, the records tell. Without validation data, the last share of the training
    records is held out."""

    def __init__(self, streams: Mapping[str, RecordStream], *, config: DataConfig, fields: LabelledFields, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.splits = tuple(split for split in ("train", "validation", "test") if split in streams or split == "validation")
        self._streams, self._fields, self._share = streams, fields, config.validation_share

    @cached_property
    def _cut(self) -> int:
        return int(sum(1 for _ in self._streams["train"](_whole)) * (1.0 - self._share))

    def _rows(self, split: str, convert: Callable[[Record], Any]) -> Iterator[Any]:
        if "validation" in self._streams or split == "test":
            return self._streams[split](convert)
        return islice(self._streams["train"](convert), *((self._cut,) if split == "train" else (self._cut, None)))

    def _text(self, record: Record) -> str:
        """The text of a record of either sort."""
        fields = self._fields
        if record.get(fields.text) is None and record.get(fields.words) is not None:
            return " ".join(map(str, record.words(fields.words, "words_field")))
        return record.text(fields.text, "text_field")

    def training_text(self) -> Iterator[str]:
        return self._rows("train", self._text)

    def documents(self, split: str) -> Pieces:
        return recut(without_blank(self._pieces(split)))

    def sentences(self, split: str) -> Pieces:
        return sentences_of(self._pieces(split))

    def _pieces(self, split: str) -> Pieces:
        for text in self._rows(split, self._text):
            yield text
            yield None

    def annotations(self) -> tuple[Form, ...]:
        first = next(self._streams["train"](_whole), None)
        if first is None:
            return ()
        fields = self._fields
        held = {Form.LABELLED: (fields.text, fields.label), Form.TAGGED: (fields.words, fields.tags)}
        return tuple(form for form, names in held.items() if all(first.get(name) is not None for name in names))

    # --- classes -------------------------------------------------------------------------------------------------------------------

    @cached_property
    def label_names(self) -> list[str]:
        field = self._fields.label
        return _sorted_names(set(self._rows("train", lambda record: _label(record, field, "label_field"))))

    def labelled(self, split: str) -> Iterator[tuple[str, int]]:
        numbers = {name: number for number, name in enumerate(self.label_names)}

        def row(record: Record) -> tuple[str, int]:
            label = _label(record, self._fields.label, "label_field")
            return record.text(self._fields.text, "text_field"), _known(numbers, label, record, split)

        return self._rows(split, row)

    # --- tags ----------------------------------------------------------------------------------------------------------------------

    def _tags(self, record: Record) -> tuple[list[str], list[str]]:
        words = [str(word) for word in record.words(self._fields.words, "words_field")]
        tags = [str(tag) for tag in record.words(self._fields.tags, "tags_field")]
        if len(words) != len(tags):
            raise BadRecordError(f"{record.place}: {len(words)} words but {len(tags)} tags")
        return words, tags

    def marked(self, split: str) -> Iterator[tuple[str, Spans]]:
        return self._rows(split, self._phrases)

    def _phrases(self, record: Record) -> tuple[str, Spans]:
        """A text with its spans, or words whose tags mark phrases."""
        if record.get(self._fields.text) is None and record.get(self._fields.words) is not None:
            words, tags = self._tags(record)
            return " ".join(words), tagged_spans(words, tags)
        text = record.text(self._fields.text, "text_field")
        return text, given_spans(record, self._fields.spans, len(text))

    @cached_property
    def tag_names(self) -> list[str]:
        return _sorted_names({tag for _, tags in self._rows("train", self._tags) for tag in tags}, first="O")

    def tagged(self, split: str) -> Iterator[tuple[list[str], list[int]]]:
        numbers = {name: number for number, name in enumerate(self.tag_names)}

        def row(record: Record) -> tuple[list[str], list[int]]:
            words, tags = self._tags(record)
            return words, [_known(numbers, tag, record, split) for tag in tags]

        return self._rows(split, row)


def _known(numbers: dict[str, int], name: str, record: Record, split: str) -> int:
    if name not in numbers:
        held = ", ".join(list(numbers)[:12])
        raise DataError(f"{record.place} (data.{split}): {name!r} does not occur in data.train, which has {held}")
    return numbers[name]
