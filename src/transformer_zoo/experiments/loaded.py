"""A model with its weights and all that is known of it, wherever it comes from: a run, an import, or a folder in the public format."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.experiments.texts import Texts
from transformer_zoo.generation.base import GenerationConfig
from transformer_zoo.interop.base import Family
from transformer_zoo.interop.config_file import DECODING
from transformer_zoo.models.base import Model, ModelConfig
from transformer_zoo.records import HeadNeed, TranslationInputs

logger = logging.getLogger(__name__)

WANTED = {"prompt": 'prompt="…" to continue', "source": 'source="…" to translate', "text": 'text="… [MASK] …" to fill in'}
"""What a model can be given, and for what."""


@dataclass(kw_only=True)
class LoadedModel:
    """What all three have in common."""

    path: Path
    model: Model
    model_config: ModelConfig
    heads: Mapping[str, HeadNeed]
    primary: str | None
    """The head whose scores are asked for where none is named; None: there is no head that scores."""
    tokenizer: Tokenizer | None
    device: torch.device
    step: str
    """The checkpoint's name; empty for a folder in the public format."""
    text_form: Texts | None
    """None without a tokenizer."""
    wants: str | None
    """What text the model can be given: a `prompt`, a `source` or a `text` with masks; None: it scores no tokens."""
    origin: str
    """Where the heads come from, in words: `trained with objective=mlm`."""
    family: Family | None
    """The public family it belongs to; None where there is none."""
    ids: Mapping[str, Any]
    """Special tokens as far as they are known, by their keys of `config.json`."""
    wishes: Mapping[str, Any] = field(default_factory=dict)
    """How the files of a public model wish it to write, by their keys (see `DECODING`); nothing of it is done unless it is asked for."""

    @property
    def pad(self) -> int | None:
        """The padding token, where one is known."""
        return self.ids.get("pad_token_id")

    def say_what_is_not_done(self, generation: GenerationConfig) -> None:
        """Warns of wishes that these settings leave at their defaults."""
        values = {f.name: getattr(generation, f.name) for f in fields(generation)}
        chosen = {f.name for f in fields(generation) if values[f.name] != f.default}
        wished = [(key, value, DECODING[key][1]) for key, value in self.wishes.items()]
        left = [(f"{key}={value}", ours) for key, value, ours in wished if ours not in chosen and (ours is None or values.get(ours) != value)]
        if left:
            ours = ", ".join(dict.fromkeys(name for _, name in left if name is not None))
            way_out = f"; the settings for it are {ours}" if ours else ""
            logger.warning("%s wishes %s, which is not done by itself%s", self.path, ", ".join(wish for wish, _ in left), way_out)

    @property
    def texts(self) -> Texts:
        """The model together with its tokenizer.

        Raises:
            DataError: it has none.
        """
        if self.text_form is None:
            raise DataError(
                f"{self.path}: this model came without a tokenizer.json, so it reads token ids only; put one beside it and import it again"
            )
        return self.text_form

    def wanted(self) -> str:
        """What text the model can be given.

        Raises:
            ConfigError: none, since it scores no tokens.
        """
        if self.wants is None:
            raise ConfigError(f"{self.path} was {self.origin}, which scores no tokens: there is nothing to generate")
        return self.wants


def wants_of(config: ModelConfig, heads: Collection[str]) -> str | None:
    """What text a model with these heads can be given."""
    if "vocabulary" not in heads:
        return None
    return "source" if config.accepts is TranslationInputs else "prompt" if config.causal else "text"
