"""A model with its weights and all that is known of it, wherever it comes from: a run, an import, or a folder in the public format."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from transformer_zoo.data.tokenizers import Tokenizer
from transformer_zoo.errors import ConfigError, DataError
from transformer_zoo.experiments.texts import Texts
from transformer_zoo.interop.base import Family
from transformer_zoo.models.base import Model, ModelConfig
from transformer_zoo.records import HeadNeed, TranslationInputs

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

    @property
    def pad(self) -> int | None:
        """The padding token, where one is known."""
        return self.ids.get("pad_token_id")

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
