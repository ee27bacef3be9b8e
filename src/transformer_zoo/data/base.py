"""What every data set offers: its settings, the forms it can be read in, and the text behind each form.

A data set is read in one *form*, which the objective's batch record decides: running text, documents of sentences, parallel
sentences, labelled texts or tagged words. A `Source` yields plain text; `preparing.py` turns it into token ids on disk.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

from transformer_zoo.errors import ConfigError
from transformer_zoo.records import Batch, LabelledBatch, MarkedTextBatch, PairBatch, TaggedBatch, TextBatch, TranslationBatch
from transformer_zoo.settings import Config, OneOf, Range, Ratio, Share

Pieces = Iterator[str | None]
"""Text in pieces; None ends a document."""

SPLITS = ("train", "validation", "test")


class Form(StrEnum):
    """The shapes in which text is prepared."""

    RUNNING = "running"
    SENTENCES = "sentences"
    PARALLEL = "parallel"
    LABELLED = "labelled"
    TAGGED = "tagged"
    MARKED = "marked"


FORM_OF: dict[type[Batch], Form] = {
    TextBatch: Form.RUNNING,
    PairBatch: Form.SENTENCES,
    TranslationBatch: Form.PARALLEL,
    LabelledBatch: Form.LABELLED,
    TaggedBatch: Form.TAGGED,
    MarkedTextBatch: Form.MARKED,
}

WORDS_FOR: dict[Form, str] = {
    Form.RUNNING: "running text",
    Form.SENTENCES: "documents of sentences",
    Form.PARALLEL: "parallel sentences",
    Form.LABELLED: "labelled texts",
    Form.TAGGED: "tagged words",
    Form.MARKED: "texts with marked phrases",
}

_WAY_OUT: dict[Form, str] = {
    Form.RUNNING: "data=text or data=pocket",
    Form.SENTENCES: "data=text or data=pocket",
    Form.PARALLEL: "data=pairs or data=pocket",
    Form.LABELLED: "data=labelled or data=pocket",
    Form.TAGGED: "data=labelled or data=pocket",
    Form.MARKED: "data=labelled",
}


class Source(ABC):
    """One data set as text. `fingerprint` is a hash of everything the text depends on."""

    fingerprint: str
    splits: tuple[str, ...]

    @abstractmethod
    def training_text(self) -> Iterator[str]:
        """The training split's text in pieces, for training a tokenizer; the same for every form."""

    def documents(self, split: str) -> Pieces:
        """Running text."""
        raise _not_given(self, Form.RUNNING)

    def sentences(self, split: str) -> Pieces:
        """The sentences of each document, one a piece."""
        raise _not_given(self, Form.SENTENCES)

    def parallel(self, split: str) -> Iterator[tuple[str, str]]:
        """Source and target sentences."""
        raise _not_given(self, Form.PARALLEL)

    def labelled(self, split: str) -> Iterator[tuple[str, int]]:
        """Texts and the numbers of their labels."""
        raise _not_given(self, Form.LABELLED)

    def tagged(self, split: str) -> Iterator[tuple[list[str], list[int]]]:
        """The words of a text and the numbers of their tags."""
        raise _not_given(self, Form.TAGGED)

    def marked(self, split: str) -> Iterator[tuple[str, list[tuple[int, int]]]]:
        """Texts and the (first, last + 1) characters of the phrases in each."""
        raise _not_given(self, Form.MARKED)

    def annotations(self) -> tuple[Form, ...]:
        """What its training rows hold classes of: whole texts (LABELLED), words (TAGGED), both or neither. May look at the first row."""
        return ()

    @property
    def label_names(self) -> list[str] | None:
        """The classes of a labelled data set."""
        return None

    @property
    def tag_names(self) -> list[str] | None:
        """The tags of a tagged data set."""
        return None


def _not_given(source: Source, form: Form) -> ConfigError:
    return ConfigError(f"{type(source).__name__} holds no {WORDS_FOR[form]}: use {_WAY_OUT[form]}")


@dataclass(kw_only=True)
class DataConfig(Config):
    """What all data sets share."""

    slot: ClassVar[str | None] = "data"
    option: ClassVar[str]
    """The name it is chosen by."""

    sequence_length: Annotated[int, Range(2)] = 128
    """Tokens in a row, special tokens included."""
    packing: Annotated[str, OneOf("separate", "concatenate", "document_mask")] = "concatenate"
    """How documents fill rows. separate: a row never crosses documents; concatenate: documents are joined with special tokens between
    them and cut, and may attend to each other; document_mask: joined and cut, but attention stays inside a document."""
    validation_share: Ratio = 0.1
    """The last share of the training text that is held out where no validation data is given."""
    short_pairs: Share = 0.1
    """Share of sentence pairs that aim at a random shorter length, as BERT's do."""
    on_bad_utf8: Annotated[str, OneOf("error", "replace", "skip")] = "error"
    """Bytes that are no UTF-8. error: stop and name them; replace: U+FFFD stands for them; skip: leave out the line or record (in a text
    read as one document: only the bytes). Both are counted in the log."""
    allow_control_bytes: bool = False
    """Read files even if more than 1% of their bytes are control characters, which text has not and binary files have."""

    def problems(self) -> list[str]:
        """What is wrong with the settings taken together."""
        return []

    def provides(self) -> frozenset[type[Batch]]:
        """The batch records this data can give."""
        raise NotImplementedError

    def open(self, cache_dir: Path) -> Source:
        """The data set behind these settings. Names its files; reads as little as possible."""
        raise NotImplementedError


def check_provides(config: DataConfig, batch: type[Batch]) -> None:
    """Refuse data that cannot give the batch record an objective needs; reads nothing.

    Raises:
        ConfigError: naming what the data holds and which data would do.
    """
    if batch in config.provides():
        return
    form = FORM_OF.get(batch)
    if form is None:
        raise ConfigError(f"no data gives {batch.__name__}")
    held = " and ".join(sorted(WORDS_FOR[FORM_OF[record]] for record in config.provides()))
    raise ConfigError(f"data={config.option} gives {held}; the objective needs {WORDS_FOR[form]}: use {_WAY_OUT[form]}")
