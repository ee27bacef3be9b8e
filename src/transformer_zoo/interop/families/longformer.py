"""Longformer (Beltagy et al. 2020, https://arxiv.org/abs/2004.05150): `model_type` longformer."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from transformer_zoo.interop.base import Classes, Family
from transformer_zoo.interop.config_file import ConfigFile, Plain, at
from transformer_zoo.interop.families.post_norm import BLOCK, block_rules, embedding_rules, read_encoder, vocabulary_copies, write_encoder
from transformer_zoo.interop.families.roberta import (
    VOCABULARY,
    behind_padding,
    counted_positions,
    head_rules,
    plain_heads,
    real_positions,
    write_positions,
)
from transformer_zoo.interop.tensors import Copy, Joined, Rule

IDLE = ("ignore_attention_mask", "onnx_export", "sep_token_id")
"""Keys that change no score."""


class Longformer(Family):
    """RoBERTa whose tokens see a window, save for a few that see all through projections of their own."""

    model_type = "longformer"
    recipes = ("longformer",)
    prefix = "longformer."
    architectures: ClassVar[Classes] = {
        "LongformerForMaskedLM": ("vocabulary",),
        "LongformerForSequenceClassification": ("classification",),
        "LongformerForTokenClassification": ("tagging",),
        "LongformerModel": (),
    }
    heads = ("vocabulary", "classification", "tagging", "pooler")
    buffers = ("longformer.embeddings.position_ids",)
    special_ids: ClassVar[Mapping[str, int]] = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}

    def read(self, config: ConfigFile) -> Plain:
        config.passive(*IDLE)
        settings = read_encoder(config, law="normal")
        windows = _windows(config, settings["n_layers"])
        attention = {number: settings["attention"] | {"kind": "longformer", "window": number} for number in windows}
        several: Plain = {}
        if len(attention) > 1:
            kinds = {f"window_{number}": {"attention": own} for number, own in attention.items()}
            several = {"layers": kinds, "pattern": [f"window_{number}" for number in windows]}
        return settings | counted_positions(config, settings) | plain_heads(settings) | {"attention": attention[windows[0]]} | several

    def write(self, settings: Plain) -> Plain:
        layers: Plain = settings["layers"]
        pattern = settings["pattern"] or [""]
        windows = [at(layers.get(kind, {}), "attention.window") or at(settings, "attention.window") for kind in pattern]
        each: list[Any] = [None if window is None else 2 * window for window in windows]
        written = write_encoder(settings)
        written.pop("classifier_dropout")
        return (
            written
            | write_positions(settings)
            | {"attention_window": each[0] if len(each) == 1 else [each[layer % len(each)] for layer in range(settings["n_layers"])]}
        )

    def fitted(self, settings: Plain, weights: Mapping[str, Tensor], pad: int) -> tuple[Plain, Mapping[str, Tensor]]:
        return behind_padding(settings, weights, pad)

    def rules(self, settings: Plain) -> list[Rule]:
        several = tuple(f"{self.prefix}encoder.layer.{{layer}}.attention.self.{part}_global.*" for part in ("query", "key", "value"))
        return [
            *embedding_rules(self.prefix),
            *block_rules(self.prefix),
            Rule(f"{BLOCK}.attention.qkv_global.*", several, Joined()),
            *head_rules(settings, self.prefix),
        ]

    def copies(self, settings: Plain) -> list[Copy]:
        return vocabulary_copies(settings, VOCABULARY, "longformer.embeddings.word_embeddings.weight")

    def positions(self, token_ids: Tensor, pad: int | None) -> Tensor:
        return real_positions(token_ids, pad)

    def global_positions(self, head: str | None, token_ids: Tensor, valid: Tensor | None) -> Tensor | None:
        if head != "classification":
            return None
        first = torch.zeros_like(token_ids, dtype=torch.bool)
        first[:, 0] = True if valid is None else valid[:, 0]
        return first


def _windows(config: ConfigFile, n_layers: int) -> list[int]:
    """Tokens visible on each side in the first layers, which all others repeat."""
    given = config.get("attention_window", 512)
    each = given if isinstance(given, list) else [given] * n_layers
    whole = all(isinstance(one, int) and not isinstance(one, bool) and one > 0 and one % 2 == 0 for one in each)
    if not whole or len(each) != n_layers:
        config.wrong("attention_window", given, f"expected an even number above 0, or a list of {n_layers} such numbers, one for each layer")
        return [256]
    length = next(n for n in range(1, n_layers + 1) if each == [each[layer % n] for layer in range(n_layers)])
    return [one // 2 for one in each[:length]]
