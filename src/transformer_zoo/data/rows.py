"""Records of structured files: `.jsonl` line by line, other tables through `sources.table_rows`; and checked access to their fields."""

import json
import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from transformer_zoo.data.base import DataConfig
from transformer_zoo.data.files import find, kind_of, read_lines
from transformer_zoo.data.sources import table_rows
from transformer_zoo.errors import DataError
from transformer_zoo.settings import OneOf, Share

logger = logging.getLogger(__name__)
ItemT = TypeVar("ItemT")


@dataclass(kw_only=True)
class RecordDataConfig(DataConfig):
    """What all data that comes in records shares."""

    on_bad_record: Annotated[str, OneOf("error", "skip")] = "error"
    """A record (a line of .jsonl, a row of a table) that is broken or lacks a field. error: stop and name it; skip: leave it out."""
    max_bad_share: Share = 0.01
    """Share of records that may be left out before that is an error too."""


@dataclass(kw_only=True)
class FileDataConfig(RecordDataConfig):
    """What all data from the user's own files shares."""

    train: str | list[str]
    """Files to train on: a path, a folder, a glob, or a list of them. Relative names start in the folder the command is started in."""
    validation: str | list[str] | None = None
    """Held-out files; null: the last `validation_share` of the training text."""
    test: str | list[str] | None = None
    """Files for the final test; null: there is no test split."""

    def files(self) -> dict[str, list[Path]]:
        """The files of each split that is given.

        Raises:
            DataError: something named is not there.
        """
        values = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: find(value, f"data.{split}") for split, value in values.items() if value is not None}


class BadRecordError(DataError):
    """One record is broken; `on_bad_record=skip` may leave it out."""


@dataclass(frozen=True)
class Record:
    """One row of a file with its place, for errors."""

    place: str
    values: dict[str, Any]

    def get(self, name: str) -> Any:
        """A field by its name; dots lead into nested records (`translation.en`)."""
        value: Any = self.values
        for part in name.split("."):
            if not isinstance(value, dict) or part not in value:
                return self.values.get(name)
            value = value[part]
        return value

    def text(self, name: str, setting: str) -> str:
        """A field that is text."""
        value = self.get(name)
        if isinstance(value, str):
            return value
        raise self.problem(name, setting, value, "text")

    def words(self, name: str, setting: str) -> list[Any]:
        """A field that is a list; a text counts as its words."""
        value = self.get(name)
        if isinstance(value, str):
            return value.split()
        if isinstance(value, list):
            return value
        raise self.problem(name, setting, value, "a list")

    def problem(self, name: str, setting: str, value: Any, wanted: str) -> BadRecordError:
        if value is None and name.split(".")[0] not in self.values:
            held = ", ".join(map(str, self.values)) or "nothing"
            return BadRecordError(f"{self.place}: there is no field {name!r} (it has {held}); set data.{setting}=… to the right one")
        got = "null" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"
        return BadRecordError(f"{self.place}: the field {name!r} should be {wanted}, got {got}")


def raw_records(path: Path, config: DataConfig) -> Iterator[Record | BadRecordError]:
    """The records of one file, and an error in the place of a line that is none."""
    if kind_of(path) != ".jsonl":
        for number, row in enumerate(table_rows(path, config), 1):
            yield Record(f"{path.absolute()} record {number}", row)
        return
    for number, line in read_lines(path, config):
        if line is None or not line.strip():
            continue
        place = f"{path.absolute()} line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            yield BadRecordError(f"{place} is no JSON: {error}")
            continue
        yield Record(place, row) if isinstance(row, dict) else BadRecordError(f"{place}: expected a JSON object, got {type(row).__name__}")


def records(paths: list[Path], config: RecordDataConfig, convert: Callable[[Record], ItemT]) -> Iterator[ItemT]:
    """`convert` of every record of the files, broken ones treated as the settings say.

    Raises:
        DataError: a broken record, or too many of them.
    """
    return sound((record for path in paths for record in raw_records(path, config)), config, convert)


def sound(raw: Generator[Record | BadRecordError, None, None], config: RecordDataConfig, convert: Callable[[Record], ItemT]) -> Iterator[ItemT]:
    """`convert` of every sound record; closes `raw` in the end.

    Raises:
        DataError: a broken record, or too many of them.
    """
    seen = n_bad = 0
    first: BadRecordError | None = None
    with closing(raw):
        for record in raw:
            seen += 1
            try:
                if isinstance(record, BadRecordError):
                    raise record
                item = convert(record)
            except BadRecordError as error:
                if config.on_bad_record == "error":
                    raise DataError(f"{error}; data.on_bad_record=skip leaves such records out") from None
                n_bad += 1
                first = first or error
                continue
            yield item
    if n_bad > config.max_bad_share * seen:
        raise DataError(f"{n_bad} of {seen} records are broken, more than data.max_bad_share={config.max_bad_share:g}; the first: {first}")
    if n_bad:
        logger.warning("%d of %d records are broken and left out; the first: %s", n_bad, seen, first)
