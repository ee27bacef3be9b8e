"""Small models of every shape with any part swapped, and the batches they read."""

from dataclasses import replace
from typing import Any

import torch

from transformer_zoo.experiments import catalog
from transformer_zoo.layers.attention.base import AttentionConfig
from transformer_zoo.layers.heads import ClassifierConfig
from transformer_zoo.models.base import Model, TransformerConfig
from transformer_zoo.records import HeadNeed, SequenceInputs, TranslationInputs
from transformer_zoo.settings import Config

VOCAB, B, T, S = 40, 3, 10, 9
SHAPES = ("encoder", "decoder", "encoder_decoder")
STANDARD = {
    "embeddings": "token",
    "positions": "learned",
    "norm": "layernorm",
    "norm_placement": "pre",
    "feedforward": "dense",
    "stack": "plain",
    "initialization": "normal",
    "vocabulary_head": "lm",
}
SWAPPED = [(slot, name) for slot in STANDARD for name in catalog.options(f"model/{slot}")]
"""Every choice of every slot, one at a time."""


def attention(kind: str = "multihead", **settings: Any) -> AttentionConfig:
    made: Config = catalog.options("model/attention")[kind](
        kernel=catalog.options("model/attention/kernel")["sdpa"](), qk_norm=catalog.options("model/norm")["none"](), **settings
    )
    assert isinstance(made, AttentionConfig)
    return made


def config(shape: str, **choices: Any) -> TransformerConfig:
    """`choices`: a name or a settings object per slot, or a field of the model."""
    slots = {slot: choices.pop(slot, name) for slot, name in STANDARD.items()}
    parts = {slot: catalog.options(f"model/{slot}")[made]() if isinstance(made, str) else made for slot, made in slots.items()}
    chosen = choices.pop("attention", None) or attention()
    sizes = {"d_model": 24, "n_layers": 2, "n_heads": 3, "d_ff": 40, "max_length": 32}
    made = catalog.options("model")[shape](**(sizes | choices), **parts, attention=chosen, classifier=ClassifierConfig(dropout=0.0))
    assert isinstance(made, TransformerConfig)
    if made.initialization == catalog.options("model/initialization")["normal"]():
        made = replace(made, initialization=replace(made.initialization, std=0.2))  # far from 0, so that a leak would show
    return made


def build(shape: str, **choices: Any) -> Model:
    torch.manual_seed(0)
    return config(shape, **choices).build(vocab_size=VOCAB, heads={"vocabulary": HeadNeed(kind="vocabulary")}).eval()


def tokens(seed: int = 0, rows: int = B, length: int = T) -> torch.Tensor:
    return torch.randint(7, VOCAB, (rows, length), generator=torch.Generator().manual_seed(seed))


def inputs(shape: str, token_ids: torch.Tensor) -> SequenceInputs | TranslationInputs:
    """`token_ids` as the sequence, or as the target of one fixed source."""
    sequence = SequenceInputs(token_ids=token_ids)
    if shape != "encoder_decoder":
        return sequence
    return TranslationInputs(source=SequenceInputs(token_ids=tokens(9, len(token_ids), S)), target=sequence)


def logits(model: Model, record: SequenceInputs | TranslationInputs) -> torch.Tensor:
    """[B,T,V] everywhere."""
    output = model(record)
    return output.heads["vocabulary"].logits().detach().reshape(*output.hidden.shape[:2], -1)
