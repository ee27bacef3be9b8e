"""Data sets of the hub through the `datasets` library: `data=hub data.name=…`, and the presets wikitext, wmt14_en_de and others."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, ClassVar

from transformer_zoo.data.base import Pieces, Source
from transformer_zoo.data.files import find, fingerprint
from transformer_zoo.data.labelled_data import LabelledFields, LabelledSource
from transformer_zoo.data.parallel_data import ParallelSource
from transformer_zoo.data.rows import Record, RecordDataConfig, sound
from transformer_zoo.data.sources import hub_revision, hub_rows
from transformer_zoo.data.store import key_of
from transformer_zoo.data.text_data import TextSource
from transformer_zoo.errors import DataError
from transformer_zoo.records import Batch, LabelledBatch, PairBatch, TaggedBatch, TextBatch, TranslationBatch
from transformer_zoo.settings import OneOf, PositiveInt

logger = logging.getLogger(__name__)

_GIVES: dict[str, frozenset[type[Batch]]] = {
    "text": frozenset[type[Batch]]((TextBatch, PairBatch)),
    "pairs": frozenset[type[Batch]]((TranslationBatch,)),
    "labelled": frozenset[type[Batch]]((LabelledBatch, TaggedBatch, TextBatch, PairBatch)),
}


@dataclass(kw_only=True)
class HubDataConfig(RecordDataConfig):
    """A data set of the hub, or a local folder laid out like one. Rows are streamed once and prepared like any other data; afterwards
    the hub is only asked whether the data set has changed, and not missed if it does not answer."""

    option: ClassVar[str] = "hub"

    name: str
    """The data set: `owner/name` on the hub, or a local folder."""
    config: str | None = None
    """Which of its configurations; null: its only one."""
    revision: str | None = None
    """A commit, tag or branch; null: the newest."""
    task: Annotated[str, OneOf("text", "pairs", "labelled")] = "text"
    """What its rows are: running text, parallel sentences, or texts with labels or tags."""
    train_split: str = "train"
    """Its split to train on."""
    validation_split: str | None = "validation"
    """Its held-out split; null: the last `validation_share` of the training split."""
    test_split: str | None = "test"
    """Its test split; null: none."""
    max_documents: PositiveInt | None = None
    """Read at most this many rows of each split; null: all."""
    text_field: str = "text"
    """The field that holds a text."""
    source_field: str = "source"
    """The field that holds a source sentence; dots lead into nested records (`translation.en`)."""
    target_field: str = "target"
    """The field that holds a target sentence."""
    label_field: str = "label"
    """The field that holds a class."""
    words_field: str = "tokens"
    """The field that holds the words, for tagging."""
    tags_field: str = "tags"
    """The field that holds the tags."""
    document_start: str | None = None
    """A pattern of rows that begin a document, where rows are the lines of documents; null: every row is a document."""

    def problems(self) -> list[str]:
        if self.document_start is not None:
            try:
                re.compile(self.document_start)
            except re.error as error:
                return [f"document_start={self.document_start!r} is no regular expression: {error}"]
        return []

    def provides(self) -> frozenset[type[Batch]]:
        return _GIVES[self.task]

    def open(self, cache_dir: Path) -> Source:
        content = self._content(cache_dir)
        splits = {"train": self.train_split, "validation": self.validation_split, "test": self.test_split}
        streams = {split: partial(self._sound, name) for split, name in splits.items() if name is not None}
        fields = LabelledFields(self.text_field, self.label_field, self.words_field, self.tags_field)
        settings = (self.task, splits, self.max_documents, self.source_field, self.target_field, self.document_start, self.on_bad_record)
        key = key_of("hub", content, settings, vars(fields), self.validation_share)
        if self.task == "text":
            texts = {split: partial(self._documents, stream) for split, stream in streams.items()}
            return TextSource(texts, config=self, documents="record", fingerprint=key)
        if self.task == "pairs":
            pairs = {split: partial(stream, self._pair) for split, stream in streams.items()}
            return ParallelSource(pairs, config=self, fingerprint=key)
        return LabelledSource(streams, config=self, fields=fields, fingerprint=key)

    def _content(self, cache_dir: Path) -> str:
        """What identifies the rows: the data set's commit, remembered for when the hub cannot be reached; or a local folder's files."""
        if Path(self.name).expanduser().is_dir():
            return fingerprint(find([self.name], "data.name"))
        note = cache_dir / "hub" / f"{key_of(self.name, self.config, self.revision)}.json"
        try:
            revision = hub_revision(self.name, self.revision)
        except DataError as problem:
            if not note.is_file():
                raise
            logger.warning("%s; using what was prepared before", problem)
            return str(json.loads(note.read_text(encoding="utf-8"))["revision"])
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps({"name": self.name, "revision": revision}), encoding="utf-8")
        return revision

    def _sound(self, split: str, convert: Callable[[Record], Any]) -> Iterator[Any]:
        rows = islice(hub_rows(self.name, self.config, split, self.revision), self.max_documents)
        return sound((Record(f"data.name={self.name} {split} row {n}", row) for n, row in enumerate(rows, 1)), self, convert)

    def _pair(self, record: Record) -> tuple[str, str]:
        return record.text(self.source_field, "source_field"), record.text(self.target_field, "target_field")

    def _documents(self, stream: Callable[[Callable[[Record], Any]], Iterator[Any]]) -> Pieces:
        begins = re.compile(self.document_start) if self.document_start is not None else None
        inside = False
        for text in stream(lambda record: record.text(self.text_field, "text_field")):
            if inside and (begins is None or begins.search(text)):
                yield None
            inside = True
            yield text
        if inside:
            yield None
