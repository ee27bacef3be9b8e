"""RoBERTa (Liu et al. 2019, https://arxiv.org/abs/1907.11692): `model_type` roberta."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from transformer_zoo.interop.base import Classes, Family
from transformer_zoo.interop.config_file import ConfigFile, Plain, at
from transformer_zoo.interop.families.post_norm import block_rules, embedding_rules, read_encoder, vocabulary_copies, vocabulary_rules, write_encoder
from transformer_zoo.interop.tensors import Copy, Rule

VOCABULARY, TABLE = "lm_head", "stack.positions.table.weight"
PAD = 1
"""Their padding token where the file names none."""


class Roberta(Family):
    """BERT whose positions count real tokens only, from behind the padding token's id."""

    model_type = "roberta"
    recipes = ("roberta",)
    prefix = "roberta."
    architectures: ClassVar[Classes] = {
        "RobertaForMaskedLM": ("vocabulary",),
        "RobertaForSequenceClassification": ("classification",),
        "RobertaForTokenClassification": ("tagging",),
        "RobertaModel": (),
    }
    heads = ("vocabulary", "classification", "tagging", "pooler")
    buffers = ("roberta.embeddings.position_ids", "roberta.embeddings.token_type_ids")
    special_ids: ClassVar[Mapping[str, int]] = {"bos_token_id": 0, "pad_token_id": PAD, "eos_token_id": 2}

    def read(self, config: ConfigFile) -> Plain:
        settings = read_encoder(config, law="normal", own={"vocab_size": 50265})
        return settings | counted_positions(config, settings) | plain_heads(settings)

    def write(self, settings: Plain) -> Plain:
        return write_encoder(settings) | write_positions(settings)

    def fitted(self, settings: Plain, weights: Mapping[str, Tensor], pad: int) -> tuple[Plain, Mapping[str, Tensor]]:
        return behind_padding(settings, weights, pad)

    def rules(self, settings: Plain) -> list[Rule]:
        return [*embedding_rules(self.prefix), *block_rules(self.prefix), *head_rules(settings, self.prefix)]

    def copies(self, settings: Plain) -> list[Copy]:
        return vocabulary_copies(settings, VOCABULARY, "roberta.embeddings.word_embeddings.weight")

    def positions(self, token_ids: Tensor, pad: int | None) -> Tensor:
        return real_positions(token_ids, pad)


def counted_positions(config: ConfigFile, settings: Plain) -> Plain:
    """A table of which the rows up to the padding token's are not for real tokens."""
    rows, offset = settings["max_length"], config.natural("pad_token_id", PAD) + 1
    if rows <= offset:
        config.wrong("max_position_embeddings", rows, f"expected more than pad_token_id + 1 = {offset}, in front of the first token's row")
    return {"positions": {"kind": "learned", "offset": offset}, "max_length": max(rows - offset, 1)}


def write_positions(settings: Plain) -> Plain:
    """The size of that table, and the padding token that makes it so."""
    offset = at(settings, "positions.offset", 0)
    return {"max_position_embeddings": settings["max_length"] + offset, "pad_token_id": offset - 1}


def behind_padding(settings: Plain, weights: Mapping[str, Tensor], pad: int) -> tuple[Plain, Mapping[str, Tensor]]:
    """The same model whose first position stands in the row behind the padding token's: rows in front of it, which no token has, are cut or added."""
    offset = at(settings, "positions.offset")
    if offset is None or offset == pad + 1:
        return settings, weights
    rows = weights[TABLE]
    added = rows.new_zeros(max(pad + 1 - offset, 0), rows.shape[1])
    table = torch.cat((added, rows[max(offset - pad - 1, 0) :]))
    return settings | {"positions": settings["positions"] | {"offset": pad + 1}}, {**weights, TABLE: table}


def plain_heads(settings: Plain) -> Plain:
    """The exact GELU in the head of the vocabulary whatever the layers have, and dropout on both sides of a classifier's projection."""
    dropout = settings["classifier"]["dropout"]
    return {
        "vocabulary_head": settings["vocabulary_head"] | {"activation": "gelu"},
        "classifier": {"dropout": dropout, "input_dropout": dropout},
    }


def head_rules(settings: Plain, base: str) -> list[Rule]:
    """Heads and pooler."""
    return [
        *vocabulary_rules(settings, VOCABULARY, "dense", "layer_norm"),
        Rule("heads.pooler.pooler.0.*", f"{base}pooler.dense.*"),
        Rule("heads.classification.pooler.0.*", "classifier.dense.*"),
        Rule("heads.classification.classifier.*", "classifier.out_proj.*"),
        Rule("heads.tagging.classifier.*", "classifier.*"),
    ]


def real_positions(token_ids: Tensor, pad: int | None) -> Tensor:
    """[B,T]: how many tokens that are not padding stand before each; -1 on padding, wherever it stands."""
    real = (token_ids != (PAD if pad is None else pad)).long()
    return real.cumsum(dim=1) * real - 1
