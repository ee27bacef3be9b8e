"""From text to text with one model: how its texts are framed, where its answers begin and end."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import ConfigError
from transformer_zoo.generation.base import Continuation, Generator, Translation
from transformer_zoo.generation.fill_mask import FilledText, fill_mask
from transformer_zoo.generation.text import continue_prompts, translate, written
from transformer_zoo.models.base import Model

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Texts(ABC):
    """A model together with its tokenizer."""

    model: Model
    tokenizer: Tokenizer
    device: torch.device

    @abstractmethod
    def token_ids(self, text: str) -> list[int]:
        """A text as the model reads it, special tokens included."""

    @abstractmethod
    def continued(self, prompts: Sequence[str], generator: Generator) -> list[str]:
        """Each prompt with what a decoder makes of it."""

    @abstractmethod
    def answered(self, sources: Sequence[str], generator: Generator) -> list[str]:
        """What an encoder-decoder writes for each source: its translation, its answer."""

    @abstractmethod
    def filled(self, text: str, top_k: int) -> FilledText:
        """The likeliest tokens for every mask of a text."""


@dataclass(kw_only=True)
class OwnTexts(Texts):
    """As our own training frames texts."""

    framed: bool = False
    """Whether rows are framed by [CLS] and [SEP]."""
    ends_sources: bool = False
    """Whether sources end with the end token."""
    begins_document: bool = False
    """Whether rows begin where documents do."""
    window: int | None = None
    """Tokens of a row in training; positions beyond are not learnt."""
    start: str = "begin"
    """The special token with which answers begin."""
    reads_specials: bool = False
    """Whether a special token spelled in a source is that token."""
    reads_sentinels: bool = False
    """Whether a sentinel spelled in a prompt is that token."""
    prefix: bool = False
    """Whether the tokens of a prompt see each other."""

    def token_ids(self, text: str) -> list[int]:
        specials = self.tokenizer.vocabulary.specials
        ids = self.tokenizer.encode(text)
        if self.framed and specials.cls is not None and specials.sep is not None:
            return [specials.cls, *ids, specials.sep]
        if self.ends_sources and specials.end is not None:
            return [*ids, specials.end]
        return [specials.begin, *ids] if self.begins_document and specials.begin is not None else ids

    def continued(self, prompts: Sequence[str], generator: Generator) -> list[str]:
        model: Any = self.model
        return continue_prompts(
            model,
            self.tokenizer,
            prompts,
            generator,
            begins_document=self.begins_document,
            prefix=self.prefix,
            reads_sentinels=self.reads_sentinels,
            window=self.window,
            device=self.device,
        )

    def answered(self, sources: Sequence[str], generator: Generator) -> list[str]:
        model: Any = self.model
        return translate(model, self.tokenizer, sources, generator, start=self.start, reads_specials=self.reads_specials, device=self.device)

    def filled(self, text: str, top_k: int) -> FilledText:
        return fill_mask(self.model.scorer, self.tokenizer, text, top_k=top_k, framed=self.framed, device=self.device)


@dataclass(kw_only=True)
class PublicTexts(Texts):
    """As the template of a published tokenizer frames texts, and as the ids in `generation_config.json` or `config.json` say."""

    ids: Mapping[str, Any]
    """Their keys: `decoder_start_token_id`, `forced_bos_token_id`, `forced_eos_token_id`, `eos_token_id`, `bos_token_id`, `pad_token_id`,
    `bad_words_ids`."""

    def token_ids(self, text: str) -> list[int]:
        return self.tokenizer.encode_whole(text)

    def continued(self, prompts: Sequence[str], generator: Generator) -> list[str]:
        model: Any = self.model
        begin = self._id("bos_token_id")
        prefixes = [self.token_ids(prompt) or [id for id in (begin,) if id is not None] for prompt in prompts]
        rows = generator.generate(model, Continuation(prefixes=prefixes, **self._ends()))
        return [self.tokenizer.decode([*prefix, *row.token_ids]) for prefix, row in zip(prefixes, rows, strict=True)]

    def answered(self, sources: Sequence[str], generator: Generator) -> list[str]:
        model: Any = self.model
        start = self._id("decoder_start_token_id", "bos_token_id")
        if start is None:
            raise ConfigError("config.json names no decoder_start_token_id, so it is not known with which token an answer begins")
        ids = [self.token_ids(source) for source in sources]
        request = Translation(prefixes=[[start]] * len(ids), sources=self._cut(ids), **self._ends())
        return [written(self.tokenizer, row.token_ids) for row in generator.generate(model, request)]

    def filled(self, text: str, top_k: int) -> FilledText:
        return fill_mask(self.model, self.tokenizer, text, top_k=top_k, framed=True, device=self.device)

    def _cut(self, rows: list[list[int]]) -> list[list[int]]:
        limit = self.model.max_length
        if limit is None or all(len(row) <= limit for row in rows):
            return rows
        logger.warning("%d of %d sources are cut to the %d tokens the model reads", sum(len(row) > limit for row in rows), len(rows), limit)
        return [row if len(row) <= limit else [*row[: limit - 1], row[-1]] for row in rows]

    def _ends(self) -> dict[str, Any]:
        specials = self.tokenizer.vocabulary.specials
        end, pad = self._id("eos_token_id"), self._id("pad_token_id")
        forbidden = tuple(words[0] for words in self.ids.get("bad_words_ids") or [] if len(words) == 1)
        return {
            "pad": specials.pad if pad is None else pad,
            "end": specials.end if end is None else end,
            "forbidden": forbidden,
            "forced_first": self._id("forced_bos_token_id"),
            "forced_last": self.ids.get("forced_eos_token_id") is not None,
            "device": self.device,
        }

    def _id(self, *keys: str) -> int | None:
        for key in keys:
            value: Any = self.ids.get(key)
            if isinstance(value, list) and value:
                if len(value) > 1:
                    logger.warning("%s names %d tokens; the first, %s, is used", key, len(value), value[0])
                value = value[0]
            if value is not None:
                return int(value)
        return None
