"""The door to a data set: tokenizer, splits and readers, prepared once and kept on disk."""

import logging
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from transformer_zoo.data import preparing
from transformer_zoo.data.base import FORM_OF, DataConfig, Form, Source, check_provides
from transformer_zoo.data.batching import LabelledReader, Reader, TaggedReader, TranslationReader
from transformer_zoo.data.collocations import read_collocations, write_collocations
from transformer_zoo.data.pairs import PairReader
from transformer_zoo.data.phrases import MarkedReader
from transformer_zoo.data.store import Store, StoreWriter, key_of, locked, no_poll, open_or_build, writing
from transformer_zoo.data.text_rows import JoinedReader, SeparateReader
from transformer_zoo.data.tokenizers import Tokenizer, TokenizerConfig, settings_key
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.records import Batch, Collocations, Needs, Vocabulary

logger = logging.getLogger(__name__)


class DataModule:
    """A data set with its tokenizer. Text is prepared when a reader first needs it, and found again by the next run with the same files,
    tokenizer and settings: in the form that the data was opened for all splits at once, in another one (for an evaluation) the split that
    is read."""

    def __init__(
        self, config: DataConfig, source: Source, tokenizer: Tokenizer, form: Form | None, cache_dir: Path, poll: Callable[[], None] = no_poll
    ) -> None:
        """`form` is what it is opened for; None: what readers ask for will tell."""
        self.tokenizer = tokenizer
        self._form = form
        self.splits = source.splits
        self.source = source
        self.config, self._cache_dir, self._poll = config, cache_dir, poll
        self._stores: dict[tuple[Form, tuple[str, ...]], Store] = {}

    @property
    def vocabulary(self) -> Vocabulary:
        return self.tokenizer.vocabulary

    @property
    def fingerprint(self) -> str:
        """A hash of the text and of how it becomes tokens."""
        return key_of(self.source.fingerprint, self.tokenizer.fingerprint)

    @property
    def label_names(self) -> list[str] | None:
        """The classes by number, where the data was opened for labelled texts."""
        return self._names(Form.LABELLED)

    @property
    def tag_names(self) -> list[str] | None:
        """The tags by number, where the data was opened for tagged words."""
        return self._names(Form.TAGGED)

    def _names(self, form: Form) -> list[str] | None:
        if form is self._form:
            self._store(form, "train")
        opened = [store for (kept, _), store in self._stores.items() if kept is form]
        names: list[str] | None = opened[0].facts["names"] if opened else None
        return names

    def gives(self, batch: type[Batch]) -> bool:
        """Whether it can be read in such batches."""
        return batch in self.config.provides()

    def beside(self, config: DataConfig) -> "DataModule":
        """Another data set, read by this one's tokenizer and kept in the same place.

        Raises:
            DataError: files are missing or unreadable.
        """
        return DataModule(config, config.open(self._cache_dir), self.tokenizer, None, self._cache_dir, self._poll)

    def reader(self, split: str, needs: Needs) -> Reader:
        """One split as an objective needs it.

        Raises:
            DataError: the split is not there or holds too little.
            ConfigError: the data cannot give what the objective needs.
        """
        form = FORM_OF.get(needs.batch)
        if form is None:
            raise ConfigError(f"no data gives {needs.batch.__name__}")
        if split not in self.splits:
            raise DataError(f"there is no split {split!r}: the data has {', '.join(self.splits)}; name its files with data.{split}=…")
        return self._read(form, split, needs)

    def collocations(self, needs: Needs) -> Collocations:
        """Those that an objective asks for, learned from the training text as it reads it, or found where an earlier run kept them."""
        need, form = needs.collocations, FORM_OF[needs.batch]
        assert need is not None
        key = key_of("collocations", form, self.source.fingerprint, self.tokenizer.fingerprint, asdict(need))
        learn = partial(write_collocations, self._store(form, "train"), need)
        return read_collocations(open_or_build(self._cache_dir / "prepared", key, learn, self._poll))

    def _store(self, form: Form, split: str) -> Store:
        splits = self.splits if form is self._form else (split,)
        if (form, splits) not in self._stores:
            alone = [] if form is self._form else [split]
            key = key_of(form, self.source.fingerprint, self.tokenizer.fingerprint, *alone)
            prepare = partial(self._prepare, form, splits)
            self._stores[form, splits] = open_or_build(self._cache_dir / "prepared", key, prepare, self._poll)
        return self._stores[form, splits]

    def _prepare(self, form: Form, splits: tuple[str, ...], writer: StoreWriter) -> None:
        names = {Form.LABELLED: "label_names", Form.TAGGED: "tag_names"}.get(form)
        writer.facts["names"] = getattr(self.source, names) if names else None
        for split in splits:
            preparing.write_split(self.source, split, form, self.tokenizer, writer, self._poll)
            facts = writer.facts[split]
            logger.info("prepared %s: %d tokens in %d documents", split, facts["n_tokens"], facts["n_documents"])

    def _read(self, form: Form, split: str, needs: Needs) -> Reader:
        store, vocabulary, length = self._store(form, split), self.vocabulary, self.config.sequence_length
        if form is Form.SENTENCES:
            return PairReader(store, split, vocabulary, needs, length, short_pairs=self.config.short_pairs)
        if form is Form.PARALLEL:
            reader = TranslationReader(store, split, vocabulary, length)
            if reader.n_long:
                what = "left out" if split == "train" else "cut"
                logger.warning("data.%s: %d pairs longer than data.sequence_length=%d are %s", split, reader.n_long, length, what)
            return reader
        if form is Form.LABELLED:
            return LabelledReader(store, split, vocabulary, needs, length)
        if form is Form.TAGGED:
            return TaggedReader(store, split, vocabulary, needs, length)
        if form is Form.MARKED:
            marks = replace(store, columns=store.columns | {f"{split}.tokens": store.columns[f"{split}.continues"]})
            return MarkedReader(self._windows(store, split, needs), self._windows(marks, split, needs))
        return self._windows(store, split, needs)

    def _windows(self, store: Store, split: str, needs: Needs) -> Reader:
        """Windows of what stands in the column of tokens."""
        vocabulary, length, packing = self.vocabulary, self.config.sequence_length, self.config.packing
        if packing == "separate":
            return SeparateReader(store, split, vocabulary, needs, length)
        return JoinedReader(store, split, vocabulary, needs, length, masked=packing == "document_mask")


def obtain_tokenizer(config: TokenizerConfig, source: Source, cache_dir: Path, poll: Callable[[], None] = no_poll) -> Tokenizer:
    """The tokenizer of these settings, trained on the source's training split or found where an earlier run left it.

    Raises:
        DataError: there is no text.
    """
    if not config.trained:
        return config.build(())
    path = cache_dir / "tokenizers" / f"{key_of(source.fingerprint, settings_key(config))}.json"
    if (found := _kept(path)) is not None:
        return found
    with writing(path.parent), locked(path.with_suffix(".lock"), poll):
        if (found := _kept(path)) is not None:
            return found
        progress = preparing.Progress("reading text for the tokenizer", poll)
        texts = preparing.training_sample(source.training_text(), config.train_characters, progress)
        logger.info("training a tokenizer on %.1f million characters", sum(map(len, texts)) / 1e6)
        tokenizer = config.build(texts)
        temporary = path.with_suffix(f".tmp-{os.getpid()}")
        tokenizer.save(temporary)
        temporary.replace(path)
    return tokenizer


def _kept(path: Path) -> Tokenizer | None:
    if not path.is_file():
        return None
    try:
        return Tokenizer.load(path)
    except DataError as problem:
        logger.warning("%s: training it again", problem)
        return None


def build_data(
    config: DataConfig,
    tokenizer_config: TokenizerConfig,
    *,
    needs: Needs,
    seed: int = 0,
    cache_dir: Path,
    tokenizer: Tokenizer | None = None,
    poll: Callable[[], None] = no_poll,
) -> DataModule:
    """Open a data set and its tokenizer; `tokenizer` overrides the settings (a run that goes on keeps its own). `poll` is called every
    now and then during preparation and may raise to stop it. `seed` changes nothing that is stored; data sets that are generated have a
    seed of their own.

    Raises:
        DataError: files are missing, unreadable or hold too little.
        ConfigError: the data cannot give what the objective needs.
    """
    del seed
    check_provides(config, needs.batch)
    source = config.open(cache_dir)
    if tokenizer is None:
        tokenizer = obtain_tokenizer(tokenizer_config, source, cache_dir, poll)
        if tokenizer_config.grows:
            tokenizer = tokenizer.with_sentinels(needs.sentinels)
    return DataModule(config, source, tokenizer, FORM_OF[needs.batch], cache_dir, poll)
